// A fetch for the clients of the document "Streaming Chat System", which takes an event stream apart as networks do:
// pieces: undefined (as it comes), "whole" (all at once, at the end), "events" (event by event), n (so many bytes)
// cuts: [n…]: the connection breaks behind that many events, and is opened again with `Last-Event-ID`; the documents'
// clients do not know how, so it happens below them, as a service worker would do it. `wire` counts the connections,
// and the events where it takes the stream apart.

const END = "\n\n";

function* split(bytes, size) {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}

async function* events(base, path, options, cuts, wire) {
  let count = 0, last = null;
  for (;;) {
    const stop = new AbortController();
    const headers = last ? { ...options.headers, "Last-Event-ID": last } : options.headers;
    const response = await fetch(base + path, { ...options, headers, signal: stop.signal });
    if (!response.ok) throw new Error(`${response.status} ${await response.text()}`);
    wire.connections += 1;
    let buffer = "", cut = false;
    const decoder = new TextDecoder();
    for await (const value of response.body) {
      buffer += decoder.decode(value, { stream: true });
      let end;
      while (!cut && (end = buffer.indexOf(END)) >= 0) {
        const event = buffer.slice(0, end + END.length);
        buffer = buffer.slice(end + END.length);
        last = /^id: (.*)$/m.exec(event)?.[1] ?? last;
        if (event.includes("data: ")) wire.events = count += 1;
        yield new TextEncoder().encode(event);
        cut = event.includes("data: ") && cuts.includes(count);
      }
      if (cut) break;
    }
    if (!cut) return;
    stop.abort();
  }
}

export function network({ url, pieces, cuts }, wire) {
  if (pieces === undefined && !cuts) {
    return (path, options) => (wire.connections += 1, fetch(url + path, options));
  }
  return async (path, options) => {
    const body = events(url, path, options, cuts ?? [], wire);
    async function* delivered() {
      if (pieces === "whole") {
        const all = [];
        for await (const event of body) all.push(event);
        yield Buffer.concat(all);
      } else {
        for await (const event of body) yield* split(event, typeof pieces === "number" ? pieces : event.length);
      }
    }
    return new Response(ReadableStream.from(delivered()));
  };
}
