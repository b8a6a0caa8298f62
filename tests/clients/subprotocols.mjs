// A browser's WebSocket that offers subprotocols:
// node --experimental-websocket subprotocols.mjs '{"url", "protocols": [...]}'
// prints the selected one and the first frame, or that the connection failed, as one line of JSON.

const { url, protocols } = JSON.parse(process.argv[2]);
const socket = new WebSocket(url, protocols);
socket.onmessage = (event) => {
  console.log(JSON.stringify({ protocol: socket.protocol, frame: JSON.parse(event.data) }));
  socket.close();
};
socket.onerror = () => console.log(JSON.stringify({ failed: true }));
