// A webhook receiver on Node.js alone (version 18 or later):
//
//   WEBHOOK_SECRET=whsec_… PORT=3000 node receiver.mjs
//
// It verifies the signature, takes each event once, answers 200, and works afterwards.
import { createHmac, timingSafeEqual } from "node:crypto";
import { createServer } from "node:http";

const MAX_BODY = 1024 * 1024; // an event has at most 256 KiB of data
const TOLERANCE = 5 * 60; // seconds: an older request may be a replay

const secret = process.env.WEBHOOK_SECRET ?? "";
const key = Buffer.from(secret.replace(/^whsec_/, ""), "base64");
if (!secret.startsWith("whsec_") || key.length < 24) {
  console.error("set WEBHOOK_SECRET to the signing secret of your endpoint: whsec_…");
  process.exit(2);
}

// verify wants the body's bytes as they came: JSON that was parsed and written again is other bytes.
function verify(headers, body) {
  const id = headers["webhook-id"] ?? "";
  const timestamp = headers["webhook-timestamp"] ?? "";
  if (!/^\d+$/.test(timestamp) || Math.abs(Date.now() / 1000 - Number(timestamp)) > TOLERANCE) {
    return false;
  }
  const mac = createHmac("sha256", key).update(`${id}.${timestamp}.`).update(body);
  const want = Buffer.from("v1," + mac.digest("base64"));
  // During a rotation there are two signatures; one of them has to fit.
  return (headers["webhook-signature"] ?? "").split(" ").some((candidate) => {
    const got = Buffer.from(candidate);
    return got.length === want.length && timingSafeEqual(got, want);
  });
}

// In production both are one database table with a unique key on the id: inserting the event is taking it, and a
// worker reads the rows. Then nothing that was answered 200 is lost when this process dies.
const taken = new Set();
const work = [];

function read(request) {
  return new Promise((resolve, reject) => {
    const chunks = [];
    let size = 0;
    request.on("data", (chunk) => {
      size += chunk.length;
      if (size > MAX_BODY) {
        reject(new Error("body too large"));
      }
      chunks.push(chunk);
    });
    request.on("end", () => resolve(Buffer.concat(chunks)));
    request.on("error", reject);
  });
}

const server = createServer(async (request, response) => {
  const answer = (status, value) => {
    response.writeHead(status, { "Content-Type": "application/json" }).end(JSON.stringify(value));
  };
  if (request.method !== "POST" || request.url !== "/webhooks/chattosurvey") {
    return answer(404, { error: "not found" });
  }
  let body;
  try {
    body = await read(request);
  } catch {
    request.destroy();
    return;
  }
  if (!verify(request.headers, body)) {
    return answer(401, { error: "invalid signature" });
  }
  const event = JSON.parse(body); // signed, hence ours, hence JSON
  if (!taken.has(event.id)) {
    taken.add(event.id);
    work.push(event);
    setImmediate(processWork);
  }
  answer(200, { received: true });
});

function processWork() {
  for (const event of work.splice(0)) {
    try {
      processEvent(event);
    } catch (error) {
      // It was answered 200 and will not come again. In production: keep it, and look at it.
      console.error(`could not process ${event.id} ${event.event}:`, error);
    }
  }
}

function processEvent({ id, event, data }) {
  switch (event) {
    case "conversation.started":
      console.log(`processed ${id} ${event} conversation=${data.conversation.id}`);
      break;
    case "conversation.completed":
      console.log(`processed ${id} ${event} responses=${data.responses.length}`);
      break;
    case "question_response.upserted":
      console.log(`processed ${id} ${event} answer=${JSON.stringify(data.response.answer)}`);
      break;
    default: // test.webhook, and what will come one day
      console.log(`processed ${id} ${event}`);
  }
}

server.listen(Number(process.env.PORT ?? 3000), "127.0.0.1", () => {
  console.log(`listening on http://127.0.0.1:${server.address().port}/webhooks/chattosurvey`);
});
