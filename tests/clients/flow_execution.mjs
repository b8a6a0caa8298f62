// FlowExecutionAPI and useFlowExecution as the document "Streaming Chat Integration Guide" describes them: connection
// management, event-driven message handling, the hook's state (messages, typing indicator, connection status, errors and
// retries), and a driver:
// node --experimental-websocket flow_execution.mjs
//   '{"url", "agent", "user"?, "token"?, "session"?, "query"?, "messages": [...], "cuts"?: [n...]}'
// The connection is cut, as by a bad network, when so many frames have been seen; the client goes on after the last one.
// There is nothing to go on with after a flow's last frame: a cut there does not happen.

const EVENTS = [
  "status", "flow_started", "element_started", "llm_chunk", "element_completed", "final_output", "flow_completed",
  "flow_error",
];

class FlowExecutionAPI extends EventTarget {
  constructor(baseUrl, query = "") {
    super();
    this.baseUrl = baseUrl;
    this.query = query;
    this.ws = null;
    this.last = null; // the last frame of a flow, to go on behind it
    this.frames = 0;
    this.connections = 0;
  }

  connect(agentId, first) {
    this.agentId = agentId;
    this.ws = new WebSocket(`${this.baseUrl}/api/chat/execute/${encodeURIComponent(agentId)}${this.query}`);
    const own = this.ws;
    own.onopen = () => {
      this.connections += 1;
      this.dispatchEvent(new Event("connected"));
      if (first) this.send(first);
    };
    own.onmessage = (event) => this.handleMessage(event.data);
    own.onerror = () => this.dispatchEvent(new Event("connection_error"));
    own.onclose = (event) => {
      if (own === this.ws) this.dispatchEvent(Object.assign(new Event("disconnected"), { code: event.code }));
    };
  }

  send(frame) {
    this.ws.send(JSON.stringify(frame));
  }

  handleMessage(text) {
    const { type, data, timestamp, run_id, seq } = JSON.parse(text);
    if (run_id !== undefined) {
      this.last = { run_id, seq };
      this.frames += 1;
    }
    this.dispatchEvent(new CustomEvent(EVENTS.includes(type) ? type : "unknown", { detail: { ...data, timestamp } }));
  }

  reconnect(extra) { // "Error handling and retries"
    const old = this.ws;
    old.onmessage = null;
    this.connect(this.agentId, { type: "resume", run_id: this.last.run_id, last_seq: this.last.seq, ...extra });
    old.close();
  }

  disconnect() {
    this.ws.close();
  }
}

// what the hook keeps for StreamingChatInterface
function useFlowExecution(api, done) {
  const state = { connected: false, typing: false, answers: [], errors: [], statuses: [], unknown: 0, times: [] };
  let answer = null;
  const on = (type, listener) => api.addEventListener(type, (event) => listener(event.detail ?? event));
  on("connected", () => (state.connected = true));
  on("status", ({ message }) => state.statuses.push(message));
  on("flow_started", ({ flow_id }) => {
    state.typing = true;
    answer = { flow_id, text: "", started: [], completed: [], outputs: {} };
  });
  on("element_started", (it) => answer.started.push([it.element_id, it.element_type, it.element_name]));
  on("llm_chunk", ({ content }) => (answer.text += content));
  on("element_completed", (it) => {
    answer.completed.push(it.element_id);
    answer.outputs[it.element_id] = it.outputs;
  });
  on("final_output", ({ text_output }) => (answer.output = text_output));
  on("flow_completed", (it) => {
    state.typing = false;
    state.answers.push({ ...answer, final: it.final_output.text_output, order: it.execution_order });
    done();
  });
  on("flow_error", ({ error, code }) => {
    state.typing = false;
    state.errors.push([error, code]);
    done();
  });
  on("unknown", () => (state.unknown += 1));
  for (const type of EVENTS) on(type, ({ timestamp }) => state.times.push(typeof timestamp));
  return state;
}

const task = JSON.parse(process.argv[2]);
const cuts = task.cuts ?? [];
const api = new FlowExecutionAPI(task.url, task.query);

function next() {
  const message = task.messages.shift();
  if (message === undefined) return api.disconnect();
  const history = state.answers.map(({ output }) => ({ role: "assistant", content: output }));
  api.send({
    message,
    user_id: task.user,
    token: task.token,
    session_id: task.session ?? null,
    conversation_history: task.history ? history : undefined,
  });
}

const state = useFlowExecution(api, next);
api.addEventListener("connected", next, { once: true });
for (const type of EVENTS) {
  if (type === "flow_completed" || type === "flow_error") continue;
  api.addEventListener(type, () => {
    if (cuts.includes(api.frames)) {
      cuts.splice(cuts.indexOf(api.frames), 1);
      api.reconnect({ user_id: task.user, token: task.token });
    }
  });
}
api.addEventListener("disconnected", ({ code }) => {
  const { frames, connections } = api;
  console.log(JSON.stringify({ ...state, times: [...new Set(state.times)], frames, connections, code }));
});
api.connect(task.agent);
