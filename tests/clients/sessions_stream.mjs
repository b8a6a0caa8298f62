// chatAPI.sendMessageStream of the document "Chat Streaming Implementation": fetch with a ReadableStream, a buffer for
// incomplete chunks, a callback for each event, errors of parsing logged; and its page, which refreshes at the end.
// node sessions_stream.mjs '{"url", "token"?, "session", "message", "bytes"?}'   (bytes: hand the parser so many at a
// time; 0: everything in one piece)

class ChatAPI {
  constructor(url, token) {
    this.url = url;
    this.token = token;
  }

  headers() {
    return { "Content-Type": "application/json", ...(this.token && { Authorization: `Bearer ${this.token}` }) };
  }

  async sendMessageStream(sessionId, message, onChunk, bytes) {
    const response = await fetch(`${this.url}/sessions/${sessionId}/messages/stream`, {
      method: "POST",
      headers: { ...this.headers(), Accept: "text/event-stream" },
      body: JSON.stringify(message),
    });
    if (!response.ok) {
      const error = await response.json().catch(() => ({}));
      throw new Error(error.detail || `HTTP error! status: ${response.status}`);
    }
    const decoder = new TextDecoder();
    let buffer = "";
    for await (const value of pieces(response.body, bytes)) {
      buffer += decoder.decode(value, { stream: true });
      const lines = buffer.split("\n");
      buffer = lines.pop() || "";
      for (const line of lines) {
        if (line.startsWith("data: ")) {
          try {
            onChunk(JSON.parse(line.slice(6)));
          } catch (error) {
            seen.unparsed.push(line);
          }
        }
      }
    }
  }

  async getMessages(sessionId) {
    const response = await fetch(`${this.url}/sessions/${sessionId}/messages`, { headers: this.headers() });
    const body = await response.json();
    return body.data || body.messages;
  }
}

async function* pieces(body, bytes) {
  const received = [];
  for await (const value of body) {
    if (bytes === 0) received.push(value);
    else if (!bytes) yield value;
    else for (let at = 0; at < value.length; at += bytes) yield value.subarray(at, at + bytes);
  }
  if (bytes === 0) yield Buffer.concat(received);
}

const task = JSON.parse(process.argv[2]);
const seen = { text: "", started: [], ended: [], errors: [], unparsed: [], thrown: null, messages: null };
const chatAPI = new ChatAPI(task.url, task.token);
let refresh = null;
try {
  await chatAPI.sendMessageStream(
    task.session,
    task.message,
    (chunk) => {
      if (chunk.type === "start") seen.started.push(chunk.messageId);
      else if (chunk.type === "token") seen.text += chunk.content;
      else if (chunk.type === "error") seen.errors.push(chunk.error);
      else if (chunk.type === "end") {
        seen.ended.push(chunk.messageId);
        refresh = chatAPI.getMessages(task.session); // at once, while the response is still open
      }
    },
    task.bytes,
  );
} catch (error) {
  seen.thrown = error.message;
}
seen.messages = await refresh;
console.log(JSON.stringify(seen));
