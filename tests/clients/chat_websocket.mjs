// The class ChatWebSocket of the document "WebSocket Real-Time Chat Streaming", by its own parsing logic, and a driver:
// node --experimental-websocket chat_websocket.mjs '{"url", "token"?, "messages": [...], "session"?}'
// prints what the callbacks were given as one line of JSON.

class ChatWebSocket {
  constructor(url, token) {
    this.url = url;
    this.token = token;
    this.ws = null;
    this.onMessage = null;
    this.onProgress = null;
    this.onComplete = null;
    this.onError = null;
    this.onAuthenticated = null; // where the document logs to the console
    this.onClosed = null;
  }

  connect() {
    this.ws = new WebSocket(this.url);
    this.ws.onopen = () => {
      if (this.token) {
        this.ws.send(JSON.stringify({ type: "auth", token: this.token }));
      }
    };
    this.ws.onmessage = (event) => {
      const data = JSON.parse(event.data);
      switch (data.type) {
        case "auth_success":
          if (this.onAuthenticated) this.onAuthenticated(data.user);
          break;
        case "auth_error":
          if (this.onError) this.onError(data.message);
          break;
        case "progress":
          if (this.onProgress) this.onProgress(data.step, data.message);
          break;
        case "token":
          if (this.onMessage) this.onMessage(data.token, data.partial_response);
          break;
        case "complete":
          if (this.onComplete) this.onComplete(data.response, data.metadata);
          break;
        case "error":
          if (this.onError) this.onError(data.error, data.code);
          break;
      }
    };
    this.ws.onerror = () => {
      if (this.onError) this.onError("WebSocket error", "CONNECTION_ERROR");
    };
    this.ws.onclose = (event) => {
      if (this.onClosed) this.onClosed(event.code);
    };
  }

  sendMessage(message, sessionId = null) {
    if (!this.ws || this.ws.readyState !== WebSocket.OPEN) {
      throw new Error("WebSocket not connected");
    }
    this.ws.send(JSON.stringify({ type: "message", message: message, session_id: sessionId }));
  }

  disconnect() {
    if (this.ws) {
      this.ws.close();
    }
  }
}

const task = JSON.parse(process.argv[2]);
const seen = { user: null, answers: [], errors: [] };
const chat = new ChatWebSocket(task.url, task.token);
let answer = null;

function next() {
  const message = task.messages.shift();
  if (message === undefined) {
    chat.disconnect();
    return;
  }
  answer = { steps: [], text: "", partials: [] };
  chat.sendMessage(message, task.session ?? null);
}

chat.onAuthenticated = (user) => {
  seen.user = user;
  next();
};
chat.onProgress = (step, message) => answer.steps.push([step, message]);
chat.onMessage = (token, partial) => {
  answer.text += token;
  answer.partials.push(partial === answer.text);
};
chat.onComplete = (response, metadata) => {
  seen.answers.push({ ...answer, response, agent: metadata.agent, confidence: metadata.confidence });
  next();
};
chat.onError = (error, code) => {
  seen.errors.push([error, code ?? null]);
  if (code && answer) next();
  else if (seen.errors.length >= (task.attempts ?? 1)) chat.disconnect();
  else chat.ws.send(JSON.stringify({ type: "auth", token: task.token }));
};
chat.onClosed = (code) => console.log(JSON.stringify({ ...seen, code }));
chat.connect();
if (task.anonymous) chat.ws.addEventListener("open", next);
