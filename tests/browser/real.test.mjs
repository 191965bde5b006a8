// Records that nobody here wrote: long ids, long values, thousands of errors, odd characters. They
// are in the folder that RUNLEDGER_DATA names, or in ../shared/data; without it this is skipped.
import { after, before, test } from "node:test";
import assert from "node:assert/strict";
import { existsSync, readdirSync } from "node:fs";
import { join, resolve } from "node:path";
import { spawnSync } from "node:child_process";
import { done, inspect, link, open as look } from "./eyes.mjs";
import { program, root, serve } from "./site.mjs";

const data = resolve(root, process.env.RUNLEDGER_DATA ?? "../shared/data");
const skip = existsSync(data) ? false : `there is no ${data}`;
if (skip) console.log(`SKIPPED: pages over real records (${skip})`);

let site;
/** All of it in one ledger. Lines that are refused are so by design. */
const fill = (dir) => {
  for (const name of readdirSync(data).filter((name) => name.endsWith(".jsonl.gz")).sort()) {
    const { status, stderr } = spawnSync(program, ["--dir", dir, "import", join(data, name)]);
    assert.ok(status === 0 || status === 1, `${name}: ${stderr}`);
  }
};
before(async () => { if (!skip) site = await serve({ fill }); });
after(async () => { await site?.close(); });

const open = (path, options = {}) => look(site.base + path, options);
const get = async (path) => (await fetch(site.base + path)).json();
const number = (text) => Number(text.replaceAll(",", ""));
const chip = (page, name) => page.locator(`nav[aria-label="Filter by status"] a.s-${name} b`);
/** Looks at each page, from one to the next by this link, until there is none. */
const leaf = async (page, onward, see) => {
  for (;;) {
    await see();
    const next = page.locator(`.pager >> text=${onward}`);
    if (!await next.count()) return;
    const from = page.url();
    await next.click();
    await page.waitForURL((url) => url.href !== from);
  }
};

test("all failed runs are on the pages of the list, each once", { skip }, async () => {
  const page = await open("/?status=failed");
  const count = number(await chip(page, "failed").innerText());
  const seen = [];
  await leaf(page, "Older", async () => {
    seen.push(...await page.locator("#rows .go").evaluateAll((links) => links.map((it) => it.href)));
  });
  assert.ok(count > 150, `${count}`);
  assert.equal(seen.length, count);
  assert.equal(new Set(seen).size, count);
  await done(page);
});

test("types, projects and texts of any shape can be filtered for", { skip }, async () => {
  const page = await open("/");
  const types = await page.locator("select[name=type] option").allInnerTexts();
  const odd = types.find((name) => name.includes("/") && name.includes(" "));
  await page.selectOption("select[name=type]", odd);
  await page.fill("input[name=project]", "ionic-team/ionic-framework");
  await page.click(".filter .primary");
  await page.waitForURL(/project=ionic-team%2Fionic-framework/);
  assert.ok(await page.locator("#rows tr").count() > 0);
  assert.ok((await page.locator("#rows .go").allInnerTexts()).every((name) => name === odd));
  await page.fill("input[name=text]", "no such words anywhere");
  await page.click(".filter .primary");
  await page.waitForSelector("text=No run matches");
  await page.click("text=Clear all filters");
  await page.waitForURL((url) => url.search === "");
  await done(page);
});

test("the longest id is found, and can be read whole", { skip }, async () => {
  let longest = "";
  let next = "";
  do {
    const page = await get(`/v1/runs?limit=1000${next && `&cursor=${next}`}`);
    for (const run of page.items) if (run.run_id.length > longest.length) longest = run.run_id;
    ({ next } = page);
  } while (next);
  assert.ok(longest.length > 100, longest);
  const page = await open("/", { viewport: { width: 320, height: 640 } });
  await page.fill("#find", longest);
  await page.press("#find", "Enter");
  await page.waitForURL(/\/runs\//);
  assert.equal(await page.locator("#ident").innerText(), longest);
  await done(page);
});

test("a trace of a thousand records is led through", { skip }, async () => {
  const [{ value }] = (await get("/v1/values/trace?limit=1")).items;
  const page = await open(`/traces/${encodeURIComponent(value)}`);
  const all = page.locator('nav[aria-label="Filter by kind"] a', { hasText: "all" }).locator("b");
  const count = number(await all.innerText());
  let seen = 0;
  await leaf(page, "Later", async () => { seen += await page.locator(".feed .item").count(); });
  assert.ok(count > 1000, `${count}`);
  assert.equal(seen, count);
  await done(page);
});

test("from the first error to the next, though it is on a later page", { skip }, async () => {
  // Of the runs with errors, one whose first error comes after many events.
  const [group] = (await get("/v1/groups?limit=1")).items;
  const page = await open(`/errors/${group.fingerprint}`);
  await page.click('ul.plain a[href^="/runs/"] >> nth=0');
  await page.waitForURL(/\/runs\//);
  await page.click("text=First error");
  await page.waitForURL(/#/);
  const errors = page.locator(".feed .is-error");
  assert.ok(await errors.count() > 1);
  await page.keyboard.press("e");
  const first = new URL(page.url()).hash;
  await page.keyboard.press("e");
  assert.notEqual(new URL(page.url()).hash, first);
  await done(page);
});

test("no page of real records breaks a rule, or runs out of its place", { skip }, async () => {
  const of = (path, selector) => link(site.base + path, selector);
  const failed = await of("/?status=failed", "#rows .go");
  const [group] = (await get("/v1/groups?limit=1")).items;
  assert.deepEqual(await inspect(site.base, [
    "/", "/?status=running&status=pending", failed, "/errors", `/errors/${group.fingerprint}`,
    await of("/tail?kind=error", ".feed .go"), await of(failed, '.facts a[href^="/traces/"]'),
    "/overview", "/tail", "/segments",
  ]), []);
});
