// What eventsource-parser (which the AI SDK and the OpenAI library for JavaScript build upon) makes of a stream.
// node parsed_events.mjs '{"url", "headers", "body", "bytes"?}'

import { createParser } from "./vendor/eventsource-parser/index.mjs";

const task = JSON.parse(process.argv[2]);
const events = [], errors = [];
const parser = createParser({
  onEvent: (event) => events.push(event),
  onError: (error) => errors.push(String(error)),
});
const response = await fetch(task.url, {
  method: "POST",
  headers: { "Content-Type": "application/json", ...task.headers },
  body: JSON.stringify(task.body),
});
const decoder = new TextDecoder();
for await (const value of response.body) {
  const size = task.bytes || value.length;
  for (let at = 0; at < value.length; at += size) {
    parser.feed(decoder.decode(value.subarray(at, at + size), { stream: true }));
  }
}
console.log(JSON.stringify({ events, errors }));
