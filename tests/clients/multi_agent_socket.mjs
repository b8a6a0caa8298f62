// WebSocketStreamingClient of the document "Streaming Response Implementation": connection management, up to five
// reconnections under the same connection id, ping and pong.
// node --experimental-websocket multi_agent_socket.mjs '{"url", "connection", "token"?, "request", "cuts": [n...]}'
// The connection is cut, as by a bad network, when so many frames of the answer have been seen.

class WebSocketStreamingClient {
  constructor(url, connectionId, token, onEvent) {
    this.url = url;
    this.connectionId = connectionId;
    this.token = token;
    this.onEvent = onEvent;
    this.reconnectAttempts = 0;
    this.maxReconnectAttempts = 5;
    this.finished = false;
    this.lastSeq = null;
    this.connections = 0;
    this.pongs = 0;
  }

  connect() {
    return new Promise((resolve, reject) => {
      const query = new URLSearchParams();
      if (this.token) query.set("token", this.token);
      if (this.lastSeq !== null) query.set("last_seq", this.lastSeq);
      this.ws = new WebSocket(`${this.url}/api/streaming/ws/${this.connectionId}?${query}`);
      this.ws.onmessage = (event) => {
        const data = JSON.parse(event.data);
        if (data.type === "connected") {
          this.connections += 1;
          this.ws.send(JSON.stringify({ type: "ping" }));
          resolve(data.connection_id);
        } else if (data.type === "pong") {
          this.pongs += 1;
        } else {
          if (data.seq !== undefined) this.lastSeq = data.seq;
          this.onEvent(data, event.data);
        }
      };
      this.ws.onerror = () => reject(new Error("connection failed"));
      this.ws.onclose = () => this.reconnect();
    });
  }

  reconnect() {
    if (this.finished || this.reconnectAttempts >= this.maxReconnectAttempts) return;
    this.reconnectAttempts += 1;
    setTimeout(() => this.connect(), 10 * this.reconnectAttempts); // the document waits a hundred times longer
  }

  send(request) {
    this.ws.send(JSON.stringify({ type: "multi_agent_request", request }));
  }

  cut() {
    const old = this.ws;
    old.onmessage = null;
    old.close();
  }

  disconnect() {
    this.finished = true;
    this.ws.send(JSON.stringify({ type: "disconnect" }));
    this.ws.close();
  }
}

const task = JSON.parse(process.argv[2]);
const frames = [];
const client = new WebSocketStreamingClient(task.url, task.connection, task.token, (data, text) => {
  frames.push(text);
  if (data.type === "complete") {
    client.disconnect();
    const { connections, pongs, reconnectAttempts } = client;
    console.log(JSON.stringify({ frames, connections, pongs, reconnectAttempts, response: data.response }));
  } else if (task.cuts.includes(frames.length)) {
    client.cut();
  }
});
await client.connect();
client.send(task.request);
