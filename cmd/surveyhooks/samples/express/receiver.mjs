// The receiver of the documentation, on Express, with the signature verified:
//
//   npm install express
//   WEBHOOK_SECRET=whsec_… PORT=3000 node receiver.mjs
//
// It verifies the signature, answers 200, and takes each event once afterwards.
import { createHmac, timingSafeEqual } from "node:crypto";
import express from "express";

const TOLERANCE = 5 * 60; // seconds: an older request may be a replay

const secret = process.env.WEBHOOK_SECRET ?? "";
const key = Buffer.from(secret.replace(/^whsec_/, ""), "base64");
if (!secret.startsWith("whsec_") || key.length < 24) {
  console.error("set WEBHOOK_SECRET to the signing secret of your endpoint: whsec_…");
  process.exit(2);
}

// verify wants the body's bytes as they came: JSON that was parsed and written again is other bytes.
function verify(req) {
  const timestamp = req.get("webhook-timestamp") ?? "";
  if (!/^\d+$/.test(timestamp) || Math.abs(Date.now() / 1000 - Number(timestamp)) > TOLERANCE) {
    return false;
  }
  const mac = createHmac("sha256", key).update(`${req.get("webhook-id")}.${timestamp}.`).update(req.rawBody);
  const want = Buffer.from("v1," + mac.digest("base64"));
  // During a rotation there are two signatures; one of them has to fit.
  return (req.get("webhook-signature") ?? "").split(" ").some((candidate) => {
    const got = Buffer.from(candidate);
    return got.length === want.length && timingSafeEqual(got, want);
  });
}

const app = express();
const json = express.json({ limit: "1mb", verify: (req, _res, buffer) => { req.rawBody = buffer; } });

app.post("/webhooks/chattosurvey", json, (req, res) => {
  if (!req.rawBody || !verify(req)) {
    return res.status(401).json({ error: "invalid signature" });
  }
  const { id, event, created_at, data } = req.body;

  // Acknowledge receipt immediately
  res.status(200).json({ received: true });

  // Process the event asynchronously
  processWebhookEvent({ id, event, created_at, data }).catch((error) => {
    // It was answered 200 and will not come again. In production: keep it, and look at it.
    console.error(`could not process ${id} ${event}:`, error);
  });
});

// In production: a database table with a unique key on the id.
const processed = new Set();

async function processWebhookEvent({ id, event, data }) {
  // Check if we've already processed this webhook
  if (processed.has(id)) {
    console.log(`webhook ${id} already processed`);
    return;
  }
  processed.add(id);

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

const server = app.listen(Number(process.env.PORT ?? 3000), "127.0.0.1", () => {
  console.log(`listening on http://127.0.0.1:${server.address().port}/webhooks/chattosurvey`);
});
