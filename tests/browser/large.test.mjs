// More than a page can show: a trace of thousands of runs, and errors of which a text is in few.
import { after, before, test } from "node:test";
import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { done, inspect, open as look } from "./eyes.mjs";
import { run, serve } from "./site.mjs";

const TRACE = "4bf92f3577b34da6a3ce929d0e0e4736";
const RUNS = 2000;
const begin = Date.now() - 86400e3;
const at = (ms) => new Date(begin + ms).toISOString();
const id = (number) => `0196f0c2-7b1e-7d31-9c4e-${String(number).padStart(12, "0")}`;

/** What is looked for was logged first, and 100,000 errors since. */
const fill = (dir) => {
  const lines = [];
  const put = (kind, body) => lines.push(JSON.stringify({ kind, ...body }));
  for (let number = 0; number < 3; number += 1) {
    put("error", { type: "Rare", message: "a needle in the stack", ts: at(number) });
  }
  for (let number = 0; number < RUNS; number += 1) {
    const of = { run_id: id(number), trace_id: TRACE };
    put("run", {
      ...of, type: "collect measurements", status: "success", created_at: at(number * 100),
      started_at: at(number * 100), finished_at: at(number * 100 + 5000), ts: at(number * 100 + 5000),
      ...(number ? { parent_run_id: id(Math.floor(number / 40)) } : {}),
    });
    for (let step = 0; step < 10; step += 1) {
      put("event", {
        ...of, type: "measurement.stored", message: "written to the store of shard 17",
        ts: at(number * 100 + step), payload: { step, name: "a value", unit: "ms", value: 17.25 },
      });
    }
    if (number % 50 === 49) {
      put("error", {
        ...of, type: "TimeoutError", message: "no answer from the store", ts: at(number * 100 + 9),
        stack: "    at Client.send (client.js:81:13)\n".repeat(20),
      });
    }
  }
  for (let number = 0; number < 100_000; number += 1) {
    put("error", { type: "Common", message: `hay ${number}`, ts: at(3600e3 + number) });
  }
  const file = `${dir}.jsonl`;
  writeFileSync(file, lines.join("\n"));
  run("--dir", dir, "import", file);
};

let site;
before(async () => { site = await serve({ fill }); });
after(async () => { await site?.close(); });

const open = (path, options = {}) => look(site.base + path, options);

// Every error with the other words that were asked for was read, however many there were.
test("groups of errors with a text are those of a piece of the ledger, and it goes on", async () => {
  const page = await open("/errors");
  await page.fill("input[name=text]", "needle");
  await page.click(".filter .primary");
  await page.waitForSelector("text=No error matches so far");
  assert.match(await page.locator("[role=status]").innerText(), /^Searched 25,000 errors, down to /);
  for (let piece = 0; piece < 4; piece += 1) {
    assert.equal(await page.locator(".groups .go").count(), 0);
    const from = page.url();
    await page.click("text=Search older ones");
    await page.waitForURL((url) => url.href !== from);
  }
  assert.equal(await page.locator(".groups .go").innerText(), "Rare");
  assert.equal(await page.locator(".groups .big").innerText(), "3");
  assert.equal(await page.locator("[role=status]").count(), 0);
  assert.equal(await page.locator("text=Search older ones").count(), 0);
  await page.click("text=Newest");
  await page.waitForURL((url) => !url.search.includes("before"));
  await page.fill("input[name=text]", "hay");
  await page.click(".filter .primary");
  await page.waitForSelector("text=these are their groups");
  assert.equal(await page.locator(".groups .big").innerText(), "25,000");
  await done(page);
});

// Every record was read, in the order of the appends.
test("the tail begins with what is found in a piece of the ledger, and goes on", async () => {
  const page = await open("/tail?kind=error");
  await page.fill("input[name=text]", "needle");
  await page.click(".filter .primary");
  await page.waitForSelector("text=Searched 100,000 records, down to");
  assert.equal(await page.locator("#rows .item").count(), 0);
  assert.equal(await page.locator(".live").count(), 1);
  await page.click("text=Search older ones");
  await page.waitForURL(/cursor=/);
  assert.equal(await page.locator("#rows .item").count(), 3);
  assert.equal(await page.locator(".live").count(), 0, "what is older does not go on");
  assert.equal(await page.locator("text=Search older ones").count(), 0);
  await page.click("text=Newest");
  await page.waitForURL((url) => url.search.includes("needle") && !url.search.includes("cursor"));
  await done(page);
});

test("a trace of 2,000 runs is led through, and each page is light", async () => {
  const page = await open(`/traces/${TRACE}`);
  const weight = () => page.evaluate(async () => {
    const entries = performance.getEntriesByType("resource").map((it) => it.name);
    const texts = await Promise.all([location.href, ...entries].map((url) => fetch(url)));
    return (await Promise.all(texts.map((it) => it.arrayBuffer()))).reduce((sum, it) => sum + it.byteLength, 0);
  });
  const first = await page.locator(".waterfall tbody tr").first().getAttribute("id");
  assert.ok(await weight() < 100 * 1024, `${await weight()}`);
  await page.click("text=Next runs");
  await page.waitForURL(/span=\d+#waterfall/);
  assert.ok(await weight() < 100 * 1024, `${await weight()}`);
  const rows = page.locator(".waterfall tbody tr");
  assert.notEqual(await rows.first().getAttribute("id"), first);
  assert.match(await page.locator('nav[aria-label="Pages of the waterfall"]').innerText(), /Runs 41–80 of 2,000/);
  // A link to a run leads to the page that it is on, and to its row.
  const row = rows.nth(7);
  const [own, place] = [await row.getAttribute("id"), await row.locator(".anchor").getAttribute("href")];
  await page.goto(new URL(place, page.url()).href);
  assert.equal(await page.locator("tr:target").getAttribute("id"), own);
  await row.locator(".go").click();
  await page.waitForURL(/\/runs\//);
  await page.click('.facts a[href^="/traces/"]');
  await page.waitForURL(/\/traces\//);
  assert.equal(await page.locator("tr:target").getAttribute("id"), own);
  await done(page);
});

test("from error to error of a large trace, over the end of a page", async () => {
  const page = await open(`/traces/${TRACE}`);
  await page.click("text=First error");
  await page.waitForURL(/kind=error#feed/);
  const errors = page.locator(".feed .is-error");
  const jumps = page.locator(".feed .jump");
  const count = await errors.count();
  assert.ok(count > 10 && count < RUNS / 50, `${count}`);
  assert.equal(await jumps.count(), count, "each of them leads on");
  await jumps.last().click();
  await page.waitForURL(/cursor=/);
  assert.equal(count + await errors.count(), RUNS / 50);
  assert.equal(await jumps.count(), await errors.count() - 1, "but for the very last");
  await done(page);
});

test("no page of what is large breaks a rule, or runs out of its place", async () => {
  const page = await open(`/traces/${TRACE}`);
  const place = await page.locator("text=Next runs").getAttribute("href");
  await done(page);
  assert.deepEqual(await inspect(site.base, [
    place, `/runs/${id(3)}`, "/errors?text=hay", "/errors?text=needle", "/tail?text=needle",
  ]), []);
});
