// What the pages weigh, and how soon they are seen: `npm run figures`, over a million runs unless
// RUNS says otherwise. LEDGER names a directory in which they are kept from one time to the next.
import { spawn } from "node:child_process";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { browse, here, program, serve } from "./site.mjs";

const count = process.env.RUNS ?? "1000000";
const TIMES = 15;

const folder = mkdtempSync(join(tmpdir(), "runledger-figures-"));
const dir = process.env.LEDGER ?? join(folder, "ledger");
const fill = async () => {
  const runs = spawn(process.execPath, [join(here, "runs.mjs"), count], { stdio: ["ignore", "pipe", "inherit"] });
  const load = spawn(program, ["--dir", dir, "import", "-"], { stdio: [runs.stdout, "inherit", "inherit"] });
  const code = await new Promise((ended) => { load.on("exit", ended); });
  if (code !== 0) throw new Error(`the import ended with ${code}`);
};

const median = (numbers) => numbers.sort((one, two) => one - two)[Math.floor(numbers.length / 2)];
const worst = (numbers) => Math.max(...numbers);

/** One visit by a browser that was never here. */
const visit = async (browser, url) => {
  const context = await browser.newContext({ viewport: { width: 1280, height: 900 } });
  const page = await context.newPage();
  await page.goto(url, { waitUntil: "load" });
  const seen = await page.evaluate(async () => {
    const painted = () => performance.getEntriesByName("first-contentful-paint")[0];
    while (!painted()) await new Promise((again) => { setTimeout(again, 5); });
    const [own] = performance.getEntriesByType("navigation");
    const all = [own, ...performance.getEntriesByType("resource")];
    const sum = (name) => all.reduce((total, entry) => total + entry[name], 0);
    return {
      answer: own.responseEnd - own.requestStart, paint: painted().startTime,
      page: own.decodedBodySize, whole: sum("decodedBodySize"), sent: sum("transferSize"),
    };
  });
  await context.close();
  return seen;
};

if (!existsSync(dir)) await fill();
const site = await serve({ dir });
const browser = await browse();
try {
  const { items: [run] } = await (await fetch(`${site.base}/v1/runs?status=failed&limit=1`)).json();
  const pages = {
    "one letter, to compare with": "data:text/html,a",
    list: "/", "failed runs": "/?status=failed", "a text that is nowhere": "/?text=nowhere",
    run: `/runs/${run.run_id}`, errors: "/errors", overview: "/overview?range=30d", tail: "/tail",
    storage: "/segments",
  };
  console.log(`${TIMES} first visits each, over ${count} runs; ms: median (worst)\n`);
  console.log("| page | HTML | with style and script | sent | answer | first paint |");
  console.log("|---|---|---|---|---|---|");
  await visit(browser, site.base);
  for (const [name, place] of Object.entries(pages)) {
    const seen = [];
    for (let time = 0; time < TIMES; time += 1) seen.push(await visit(browser, new URL(place, site.base).href));
    const of = (what) => seen.map((one) => one[what]);
    const kib = (what) => `${(median(of(what)) / 1024).toFixed(1)} KiB`;
    const ms = (what) => `${median(of(what)).toFixed(0)} (${worst(of(what)).toFixed(0)})`;
    console.log(`| ${name} | ${kib("page")} | ${kib("whole")} | ${kib("sent")} | ${ms("answer")} | ${ms("paint")} |`);
  }
} finally {
  await browser.close();
  await site.close();
  rmSync(folder, { recursive: true, force: true });
}
