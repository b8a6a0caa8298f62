// useStreamingChat of the document "Streaming Chat System", by its own parsing logic: a React hook that appends every
// `content` and sends no `Authorization`. React's two functions are played below.
// node threads_hook.mjs '{"url", "thread", "contents": [...], "pieces"?, "cuts"?}'

import { network } from "./threads_network.mjs";

const task = JSON.parse(process.argv[2]);
const seen = { messages: [], streaming: [], unparsed: [], connections: 0 };
const fetch = network(task, seen);

const states = [];
let cell = 0;
function useState(initial) {
  const at = cell++;
  if (!(at in states)) states[at] = initial;
  const set = (next) => { states[at] = typeof next === "function" ? next(states[at]) : next; };
  return [states[at], set];
}
const useCallback = (callback) => callback;

function useStreamingChat() {
  const [isStreaming, setIsStreaming] = useState(false);
  const [currentMessage, setCurrentMessage] = useState("");

  const sendStreamingMessage = useCallback(async (threadId, content) => {
    setIsStreaming(true);
    setCurrentMessage("");
    try {
      const response = await fetch(`/chat/threads/${threadId}/messages/stream`, {
        method: "POST",
        headers: { "Content-Type": "application/json" },
        body: JSON.stringify({ content }),
      });
      const reader = response.body?.getReader();
      if (!reader) throw new Error("No reader available");
      const decoder = new TextDecoder();
      let buffer = "";
      while (true) {
        const { done, value } = await reader.read();
        if (done) break;
        buffer += decoder.decode(value, { stream: true });
        const lines = buffer.split("\n");
        buffer = lines.pop() || "";
        for (const line of lines) {
          if (line.startsWith("data: ")) {
            try {
              const event = JSON.parse(line.slice(6));
              if (event.type === "ai_response") {
                setCurrentMessage((prev) => prev + (event.data.content || ""));
              }
            } catch (e) {
              seen.unparsed.push(String(e));
            }
          }
        }
      }
    } finally {
      setIsStreaming(false);
    }
  }, []);

  return { sendStreamingMessage, isStreaming, currentMessage };
}

function render() {
  cell = 0;
  return useStreamingChat();
}

for (const content of task.contents) {
  await render().sendStreamingMessage(task.thread, content);
  seen.messages.push(render().currentMessage);
  seen.streaming.push(render().isStreaming);
}
console.log(JSON.stringify(seen));
