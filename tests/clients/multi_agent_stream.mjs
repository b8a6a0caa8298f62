// streamMultiAgentSSE of the document "Streaming Response Implementation": fetch with a ReadableStream, parsing `event:`
// and `data:` lines; returns the accumulated response and the interactions.
// node multi_agent_stream.mjs '{"url", "token"?, "request", "bytes"?}'   (bytes: hand the parser so many at a time)

async function streamMultiAgentSSE(request, token, apiUrl, callbacks, bytes) {
  const response = await fetch(`${apiUrl}/api/streaming/multi-agent/stream`, {
    method: "POST",
    headers: { "Content-Type": "application/json", Authorization: `Bearer ${token}` },
    body: JSON.stringify(request),
  });
  if (!response.ok) throw new Error(`${response.status} ${await response.text()}`);
  const reader = response.body.getReader();
  const decoder = new TextDecoder();
  let buffer = "", event = "", accumulated = "", finalResponse = "", interactions = [];
  const take = (text) => {
    buffer += text;
    const lines = buffer.split("\n");
    buffer = lines.pop() || "";
    for (const line of lines) {
      if (line.startsWith("event: ")) {
        event = line.slice(7).trim();
      } else if (line.startsWith("data: ")) {
        const data = JSON.parse(line.slice(6));
        switch (event || data.type) {
          case "agent_start":
            callbacks.onAgentStart?.(data.agent, data.query);
            break;
          case "agent_chunk":
            if (data.internal) break;
            accumulated += data.chunk;
            callbacks.onChunk?.(data.chunk, data.agent);
            break;
          case "agent_complete":
            callbacks.onAgentComplete?.(data.agent, data.response);
            break;
          case "interaction":
            interactions.push(data);
            break;
          case "progress":
            if (data.message) callbacks.onProgress?.(data.progress, data.message);
            break;
          case "error":
            callbacks.onError?.(data.error, data.agent);
            break;
          case "complete":
            if (data.response) {
              finalResponse = data.response;
              interactions = data.interactions || interactions;
              callbacks.onComplete?.(data.response, data.interactions, data.metadata);
            }
            break;
        }
      }
    }
  };
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    const size = bytes || value.length;
    for (let at = 0; at < value.length; at += size) {
      take(decoder.decode(value.subarray(at, at + size), { stream: true }));
    }
  }
  return { response: finalResponse || accumulated, accumulated, interactions };
}

const task = JSON.parse(process.argv[2]);
const seen = { starts: [], completes: [], progress: [], errors: [], metadata: null };
const result = await streamMultiAgentSSE(
  task.request,
  task.token,
  task.url,
  {
    onAgentStart: (agent) => seen.starts.push(agent),
    onAgentComplete: (agent) => seen.completes.push(agent),
    onProgress: (progress) => seen.progress.push(progress),
    onError: (error, agent) => seen.errors.push([error, agent]),
    onComplete: (_response, _interactions, metadata) => { seen.metadata = metadata; },
  },
  task.bytes,
);
console.log(JSON.stringify({ ...seen, ...result }));
