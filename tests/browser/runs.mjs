// Runs of the last 30 days as JSON lines, a million unless told otherwise:
//   node runs.mjs 1000000 > runs.jsonl && runledger --dir big import runs.jsonl
import { once } from "node:events";

const count = Number(process.argv[2] ?? 1e6);
const begin = Date.now() - 30 * 86400e3;
const step = (30 * 86400e3 - 60e3) / count;
const statuses = ["failed", "failed", "skipped", "cancelled"];
for (let number = 0; number < count; number += 1) {
  const created = begin + number * step;
  const iso = (time) => new Date(time).toISOString();
  const end = iso(created + 1000 + (number * 7919) % 50000);
  const status = number % 25 < 4 ? statuses[number % 25] : "success";
  const run = {
    kind: "run", run_id: `run-${number}`, type: `type-${(number * 31) % 64}`, status, ts: end,
    created_at: iso(created), started_at: iso(created), finished_at: end,
    project_id: `p-${number % 100}`, user_id: `u-${number % 40}`,
    ...(status === "failed" ? { error_type: "TimeoutError", message: `no answer after ${number % 60} s` } : {}),
  };
  if (!process.stdout.write(`${JSON.stringify(run)}\n`)) await once(process.stdout, "drain");
}
