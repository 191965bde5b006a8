// A server over a ledger of its own, and a browser to look at it with.
import { spawn, execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { chromium } from "playwright-core";

export const here = dirname(fileURLToPath(import.meta.url));
export const root = resolve(here, "../..");
export const program = process.env.RUNLEDGER ?? join(root, "target/release/runledger");
const SECRET = "a secret for tests in a browser, of more than 32 bytes";

export const run = (...args) => execFileSync(program, args, { encoding: "utf8" });

/**
 * A server over an empty ledger, over the one that `fill` makes in a directory, or over the one in
 * `dir`; with `secret` it asks for tokens.
 */
export const serve = async ({ dir: given, fill = () => {}, secret = false, config = "" } = {}) => {
  const folder = mkdtempSync(join(tmpdir(), "runledger-browser-"));
  const dir = given ?? join(folder, "ledger");
  if (!given) fill(dir);
  const args = ["--dir", dir, "serve", "--listen", "127.0.0.1:0"];
  const keys = join(folder, "secret");
  writeFileSync(keys, SECRET);
  args.push(...(secret ? ["--secret-file", keys] : ["--no-auth"]));
  if (config) {
    writeFileSync(join(folder, "serve.toml"), config);
    args.push("--config", join(folder, "serve.toml"));
  }
  let child;
  /** Starts the server, and says where it listens. */
  const start = async () => {
    child = spawn(program, args, { stdio: ["ignore", "pipe", "inherit"] });
    return new Promise((begun, failed) => {
      let text = "";
      child.stdout.on("data", (piece) => {
        text += piece;
        const found = text.match(/listening on (http:\S+)/);
        if (found) begun(found[1]);
      });
      child.on("exit", (code) => failed(new Error(`the server ended with ${code}`)));
    });
  };
  const stop = async () => {
    const ended = new Promise((over) => { child.on("exit", over); });
    child.kill("SIGTERM");
    await Promise.race([ended, new Promise((over) => { setTimeout(over, 3000); })]);
  };
  const base = await start();
  /** Ends the server, and starts it again where it was. */
  const restart = async () => {
    await stop();
    args[args.indexOf("--listen") + 1] = new URL(base).host;
    await start();
  };
  const token = (user, ...scopes) => run(
    "token", user, "--secret-file", keys, "--scope", scopes.join(","),
  ).trim();
  const append = async (kind, body, bearer) => {
    const headers = { "content-type": "application/json" };
    if (bearer) headers.authorization = `Bearer ${bearer}`;
    const answer = await fetch(`${base}/v1/${kind}`, {
      method: "POST", headers, body: JSON.stringify(body),
    });
    if (answer.status !== 201) throw new Error(await answer.text());
    return answer.json();
  };
  const close = async () => {
    await stop();
    rmSync(folder, { recursive: true, force: true });
  };
  return { base, dir, token, append, restart, close };
};

const launch = () => chromium.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  args: [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
  ],
});

/** A browser. One that crashes as it begins, which happens on a busy machine, is begun again. */
export const browse = () => launch().catch(launch);

/** Ledger-like times and ids for a story in which everything happens. */
export const story = async (site) => {
  const now = Date.now();
  const at = (seconds) => new Date(now - seconds * 1000).toISOString();
  const types = ["nightly-backup", "send-invoices", "sync-calendar", "price-update", "purge-carts"];
  const ends = ["success", "success", "success", "failed", "success", "skipped", "success", "cancelled"];
  const lines = [];
  const put = (kind, body) => lines.push(JSON.stringify({ kind, ...body }));
  for (let number = 0; number < 300; number += 1) {
    const ago = 86000 - number * 285;
    const status = ends[(number * 7 + Math.floor(number / 11)) % ends.length];
    const type = types[(number * 3) % types.length];
    const id = `${type}-${1000 + number}`;
    const took = 2 + (number * 37) % 240;
    const failed = status === "failed";
    put("run", {
      run_id: id, type, status, created_at: at(ago), started_at: at(ago), finished_at: at(ago - took),
      ts: at(ago - took), user_id: ["ann", "bob", "cron"][number % 3],
      project_id: ["shop", "billing"][number % 2],
      ...(number % 2 ? { subject: { kind: "booking", id: `B-${2000 + number}` } } : {}),
      ...(failed ? {
        error_type: "TimeoutError",
        message: `no answer from payments.internal after ${20 + (number % 9)} s, given up at attempt 3`,
        stack: "TimeoutError: no answer\n    at Client.send (client.js:81:13)\n    at pay (pay.js:12:5)",
      } : {}),
      metadata: { attempt: number % 3, host: `worker-${number % 4}`, options: { dry: false } },
    });
    if (failed) {
      put("error", {
        type: number % 5 ? "TimeoutError" : "CardDeclined", run_id: id, ts: at(ago - took),
        severity: number % 4 ? "error" : "critical", endpoint: "/pay",
        message: number % 5 ? `no answer from payments.internal after ${20 + (number % 9)} s`
          : `card ending in ${4000 + number} was declined`,
        stack: "    at Client.send (client.js:81:13)\n    at pay (pay.js:12:5)",
        detail: { code: 504, retry: true },
      });
    }
  }
  const trace = "4bf92f3577b34da6a3ce929d0e0e4736";
  const span = (id, parent, type, from, to, status = "success", more = {}) => put("run", {
    run_id: id, type, status, trace_id: trace, created_at: at(300 - from), started_at: at(300 - from),
    finished_at: at(300 - to), ts: at(300 - to), ...(parent ? { parent_run_id: parent } : {}), ...more,
  });
  span("checkout-7", null, "checkout", 0, 42, "failed", {
    user_id: "ann", project_id: "shop", subject: { kind: "booking", id: "B-1041" },
    error_type: "PaymentError", message: "the payment was refused: card declined",
    stack: "PaymentError: refused\n    at pay (pay.js:12:5)\n    at checkout (checkout.js:44:9)",
    metadata: { seats: ["12a", "12b"], total: 184.5, currency: "EUR" }, result: { refunded: false },
  });
  span("reserve-7", "checkout-7", "reserve seats", 1, 9);
  span("lock-7", "reserve-7", "lock rows", 2, 7);
  span("mail-7", "checkout-7", "confirmation mail", 10, 14, "skipped");
  span("pay-7", "checkout-7", "payment", 10, 41, "failed");
  span("gate-7", "pay-7", "card gateway", 12, 40, "failed");
  const event = (seconds, type, run_id, message, payload) => put("event", {
    type, run_id, trace_id: trace, ts: at(300 - seconds), message, ...(payload ? { payload } : {}),
  });
  event(3, "seat.locked", "lock-7", "12a", { seat: "12a" });
  event(5, "seat.locked", "lock-7", "12b", { seat: "12b" });
  event(12, "gateway.request", "gate-7", "POST /charges", { amount: 184.5, currency: "EUR" });
  for (const second of [20, 30, 39]) {
    put("error", {
      type: "CardDeclined", run_id: second === 39 ? "checkout-7" : "gate-7", trace_id: trace,
      ts: at(300 - second), severity: second === 39 ? "critical" : "warning",
      message: `card ending in ${4200 + second} was declined: insufficient funds`,
      stack: "    at charge (gateway.js:210:11)\n    at pay (pay.js:12:5)", detail: { code: 51 },
    });
  }
  event(41, "checkout.failed", "checkout-7", "given up", { reason: "declined" });
  put("run", {
    run_id: "sync-live", type: "sync-calendar", status: "running", ts: at(75), user_id: "ann",
    project_id: "shop",
  });
  put("run", { run_id: "queued-1", type: "send-invoices", status: "pending", ts: at(20), user_id: "cron" });
  const answer = await fetch(`${site.base}/v1/bulk`, {
    method: "POST", headers: { "content-type": "application/x-ndjson" }, body: lines.join("\n"),
  });
  const text = await answer.text();
  if (answer.status !== 200 || text.includes("problem")) throw new Error(text.slice(0, 500));
  return { trace, run: "checkout-7" };
};
