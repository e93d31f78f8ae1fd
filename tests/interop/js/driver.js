// One client of the official JavaScript SDK, driven by JSON lines on stdin and stdout.
//
// The operations are those of ../driver.py, which also says what they answer. What the SDK prints goes to stderr.
// The program ends when stdin does.
"use strict";

const crypto = require("crypto");
const readline = require("readline");

// The SDK prints with console.log, and stdout is ours.
console.log = console.error;
const nkn = require("nkn-sdk");

// What is read and written at once: at least one message of a session of messages.
const CHUNK = 65536;

let client = null;
let answer = { mode: "ack" };
const sessions = [];

function emit(line) {
  process.stdout.write(JSON.stringify(line) + "\n");
}

function encode(content) {
  if (content === null || content === undefined) return { ack: true };
  return typeof content === "string" ? { text: content } : { data: Buffer.from(content).toString("base64") };
}

function decode(request) {
  return request.text !== undefined ? request.text : new Uint8Array(Buffer.from(request.data, "base64"));
}

function allReady() {
  const subClients = Object.values(client.clients);
  return new Promise((resolve) => {
    const check = () => {
      if (subClients.every((subClient) => subClient.isReady)) resolve();
    };
    subClients.forEach((subClient) => subClient.onConnect(check));
    check();
  });
}

function onMessage(message) {
  emit({
    event: "message",
    src: message.src,
    encrypted: message.isEncrypted,
    noReply: message.noReply,
    ...encode(message.payload),
  });
  if (answer.mode === "ack") return undefined;
  if (answer.mode === "silent") return false;
  return decode(answer);
}

function onSession(session) {
  emit({ event: "session", session: sessions.push(session) - 1, src: session.remoteAddr });
}

async function send(session, size) {
  const data = crypto.randomBytes(size);
  for (let start = 0; start < size; start += CHUNK) {
    await session.write(new Uint8Array(data.subarray(start, start + CHUNK)));
  }
  return crypto.createHash("sha256").update(data).digest("hex");
}

async function receive(session, size) {
  const hash = crypto.createHash("sha256");
  for (let left = size; left > 0; ) {
    const bytes = await session.read(Math.min(left, CHUNK));
    hash.update(bytes);
    left -= bytes.length;
  }
  return hash.digest("hex");
}

// Takes what comes until the peer closes.
async function drain(session, take) {
  const hash = crypto.createHash("sha256");
  let size = 0;
  try {
    for (;;) {
      const bytes = await session.read(CHUNK);
      hash.update(bytes);
      size += bytes.length;
      await take(bytes);
    }
  } catch (error) {
    if (!session.isClosed) throw error;
    return { size, sha256: hash.digest("hex") };
  }
}

const operations = {
  async connect(request) {
    client = new nkn.MultiClient({
      rpcServerAddr: request.rpc,
      tls: request.tls,
      seed: request.seed,
      identifier: request.identifier,
      numSubClients: request.subClients,
      sessionConfig: { nonStream: request.nonStream, mtu: request.mtu },
    });
    client.onMessage(onMessage);
    client.onSession(onSession);
    await allReady();
    return { address: client.addr };
  },

  async answer(request) {
    answer = request;
  },

  async send(request) {
    const dest = request.dest.length === 1 ? request.dest[0] : request.dest;
    const reply = await client.send(dest, decode(request), {
      noReply: request.noReply,
      encrypt: !request.unencrypted,
      msgHoldingSeconds: request.holdingSeconds,
      responseTimeout: request.timeoutMs,
    });
    return encode(reply);
  },

  async listen(request) {
    client.listen(request.accept);
  },

  async dial(request) {
    const session = await client.dial(request.dest[0], { dialTimeout: request.timeoutMs });
    return { session: sessions.push(session) - 1 };
  },

  // Writes random bytes and meanwhile reads as many.
  async exchange(request) {
    const session = sessions[request.session];
    const [sent, received] = await Promise.all([
      send(session, request.size),
      receive(session, request.size),
    ]);
    return { sent, received };
  },

  // Sends back what comes, until the peer closes.
  async echo(request) {
    const session = sessions[request.session];
    return drain(session, (bytes) => session.write(bytes));
  },

  async read(request) {
    const { session, size } = request;
    if (size) return { size, sha256: await receive(sessions[session], size) };
    return drain(sessions[session], () => {});
  },

  async write(request) {
    return send(sessions[request.session], request.size);
  },

  async close(request) {
    await sessions[request.session].close();
  },

  ...require("./chain")(() => client, decode),
};

readline
  .createInterface({ input: process.stdin })
  .on("line", async (line) => {
    const request = JSON.parse(line);
    try {
      const result = await operations[request.op](request);
      emit({ id: request.id, result: result === undefined ? null : result });
    } catch (error) {
      emit({ id: request.id, error: String((error && error.stack) || error) });
    }
  })
  .on("close", () => process.exit(0));
