// sendStreamingMessage of the document "Streaming Chat System", by its own parsing logic: it does not keep what a read
// leaves unfinished, appends `content`, and at the end takes `accumulated` for the whole.
// node threads_plain.mjs '{"url", "token", "thread", "content", "pieces"?, "cuts"?}'

import { network } from "./threads_network.mjs";

async function sendStreamingMessage(fetch, token, threadId, content, handleEvent) {
  const response = await fetch(`/chat/threads/${threadId}/messages/stream`, {
    method: "POST",
    headers: { "Content-Type": "application/json", Authorization: "Bearer " + token },
    body: JSON.stringify({ content }),
  });
  const reader = response.body.getReader();
  const decoder = new TextDecoder();
  while (true) {
    const { done, value } = await reader.read();
    if (done) break;
    const chunk = decoder.decode(value);
    const lines = chunk.split("\n");
    for (const line of lines) {
      if (line.startsWith("data: ")) {
        try {
          handleEvent(JSON.parse(line.slice(6)));
        } catch (e) {
          seen.unparsed.push(String(e));
        }
      }
    }
  }
}

const task = JSON.parse(process.argv[2]);
const seen = { appended: "", message: null, types: [], errors: [], finished: 0, unparsed: [], connections: 0 };

function handleEvent(event) {
  seen.types.push(event.type);
  switch (event.type) {
    case "ai_response":
      if (event.data.isComplete) {
        seen.message = event.data.accumulated;
      } else {
        seen.appended += event.data.content;
      }
      break;
    case "error":
      seen.errors.push(event.data.error);
      break;
    case "done":
      seen.finished += 1;
      break;
  }
}

await sendStreamingMessage(network(task, seen), task.token, task.thread, task.content, handleEvent);
console.log(JSON.stringify(seen));
