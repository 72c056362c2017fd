// Looks at every kind of page of a running explorer: arguments are its address, a folder for pictures,
// the browser, and the address of a member whose endpoint is a script. Ends with 1 if anything is wrong.
"use strict";

const { chromium } = require("playwright-core");
const [base, pictures, executablePath, hostile] = process.argv.slice(2);
const problems = [];
const wrong = (where, what) => problems.push(`${where}: ${what}`);
const api = async (path) => (await fetch(base + path)).json();

// Each form of a screen; the picture of a page is named after it.
const forms = [
  { name: "light", viewport: { width: 1280, height: 900 }, colorScheme: "light" },
  { name: "dark", viewport: { width: 1280, height: 900 }, colorScheme: "dark" },
  { name: "phone", viewport: { width: 375, height: 800 }, colorScheme: "light" },
  { name: "phone-dark", viewport: { width: 375, height: 800 }, colorScheme: "dark" },
];

const pages = async () => {
  const status = await api("/api/v1/status");
  const members = (await api("/api/v1/runs/0/members")).members;
  const run = status.runs[0];
  const numbers = Array.from({ length: run.epoch + 1 }, (_, epoch) => epoch);
  const epochs = numbers.flatMap((epoch) => [`/run/0/epoch/${epoch}`, `/run/0/epoch/${epoch}/audit`]);
  return [
    "/", "/run/0", "/run/0/members", "/run/0/members?sort=score&order=desc", ...epochs, "/run/0/verdicts", "/run/0/audit", "/run/1",
    "/run/0/audit?before=1", "/run/1/members", `/block/${Math.max(1, status.newest.number - 20)}`, `/account/${members[0].coldkey}`,
    `/account/${hostile}`, "/search?q=1", "/search?q=nothing+like+that", "/api",
  ];
};

const watched = async (context, where) => {
  const page = await context.newPage();
  page.on("console", (line) => { if (["error", "warning"].includes(line.type())) wrong(where(), `console: ${line.text()}`); });
  page.on("pageerror", (error) => wrong(where(), `script: ${error.message}`));
  page.on("requestfailed", (request) => {
    // A live stream is cut when the page is left.
    if (!request.url().endsWith("/api/v1/live")) wrong(where(), `request failed: ${request.url()}`);
  });
  page.on("response", (reply) => { if (reply.status() >= 400) wrong(where(), `${reply.status()} ${reply.url()}`); });
  return page;
};

const picture = (path, form) => `${pictures}/${path.replace(/^\//, "").replace(/[^A-Za-z0-9]+/g, "-") || "overview"}-${form.name}.png`;

// What a page looks like by itself.
const looked = () => {
  const root = document.scrollingElement;
  const widest = [...document.querySelectorAll("main *")].filter((each) => !each.closest(".scroll") && each.getBoundingClientRect().right > root.clientWidth + 1);
  const light = (colour) => { const [r, g, b] = colour.match(/[\d.]+/g).map(Number); return (0.2126 * r + 0.7152 * g + 0.0722 * b) / 255; };
  const body = getComputedStyle(document.body);
  const charts = [...document.querySelectorAll(".chart")];
  return {
    heading: document.querySelector("h1")?.textContent ?? "",
    sideways: root.scrollWidth - root.clientWidth,
    widest: widest.slice(0, 3).map((each) => each.outerHTML.slice(0, 120)),
    ground: light(body.backgroundColor), text: light(body.color),
    pwned: window.pwned,
    charts: charts.length, drawn: charts.filter((each) => each.querySelector("canvas")).length,
  };
};

const every = async (browser) => {
  const paths = await pages();
  for (const form of forms) {
    const context = await browser.newContext({ viewport: form.viewport, colorScheme: form.colorScheme, reducedMotion: "reduce" });
    let path = "";
    const page = await watched(context, () => `${path} (${form.name})`);
    for (path of paths) {
      const where = `${path} (${form.name})`;
      await page.goto(base + path, { waitUntil: "load" });
      await page.waitForTimeout(250);
      // Charts of a run come from three answers; on a busy machine the last takes longer.
      if (path === "/run/0") await page.waitForFunction(() => [...document.querySelectorAll(".chart")].every((each) => each.querySelector("canvas")), null, { timeout: 10000 }).catch(() => {});
      const seen = await page.evaluate(looked);
      if (!seen.heading) wrong(where, "no heading");
      if (seen.sideways > 0) wrong(where, `scrolls sideways by ${seen.sideways} px: ${seen.widest.join(" ")}`);
      const dark = form.colorScheme === "dark";
      if (dark !== seen.ground < 0.25 || dark !== seen.text > 0.6) wrong(where, `ground ${seen.ground}, text ${seen.text}`);
      if (seen.pwned !== undefined) wrong(where, "the script of an endpoint ran");
      if (path === "/run/0" && (seen.charts < 3 || seen.drawn < 3)) wrong(where, `${seen.drawn} of ${seen.charts} charts are drawn`);
      await page.screenshot({ path: picture(path, form), fullPage: true });
    }
    await context.close();
  }
  return paths.length * forms.length;
};

// The chain goes on between two reads, so that a comparison may have to be repeated.
const settles = async (where, compare) => {
  let found = [];
  for (let turn = 0; turn < 4; turn += 1) {
    found = await compare();
    if (found.length === 0) return;
  }
  found.forEach((each) => wrong(where, each));
};

const numbers = async (browser) => {
  const page = await browser.newPage();
  const cells = () => page.$$eval("tbody tr", (rows) => rows.map((row) => ({ text: row.textContent, titles: [...row.querySelectorAll("[title]")].map((each) => each.title) })));
  await settles("/run/0/members", async () => {
    const { members } = await api("/api/v1/runs/0/members");
    await page.goto(`${base}/run/0/members`);
    const rows = await cells();
    const shown = members.filter((each) => each.present);
    return members.filter((each) => !rows.some((row) => row.titles.includes(`${each.paid_total} smallest units`) && row.titles.includes(each.hotkey) && (each.samples === null || row.text.includes(String(each.samples).replace(/\B(?=(\d{3})+$)/g, ",")))))
      .map((each) => `uid ${each.uid} is not shown as the API has it: ${JSON.stringify(each)}`).concat(shown.length === 0 ? ["no members"] : []);
  });
  await settles("/run/0", async () => {
    const run = await api("/api/v1/runs/0");
    await page.goto(`${base}/run/0`);
    const text = await page.textContent("main");
    const losses = run.epochs.flatMap((epoch) => [epoch.train_loss, epoch.heldout_loss]).filter((each) => each !== null);
    if (losses.length === 0) return ["no loss is known"];
    return losses.filter((loss) => !text.includes(loss.toFixed(3))).map((loss) => `the loss ${loss} is not shown`);
  });
  await settles("/run/0/epoch/0", async () => {
    const epoch = await api("/api/v1/runs/0/epochs/0");
    await page.goto(`${base}/run/0/epoch/0`);
    const titles = (await cells()).flatMap((row) => row.titles);
    return epoch.payouts.filter((each) => !titles.includes(`${each.amount} smallest units`)).map((each) => `the payment of ${each.amount} is not shown`)
      .concat(epoch.payouts.length === 0 ? ["nobody was paid"] : []);
  });
  await page.close();
};

const live = async (browser) => {
  const page = await browser.newPage();
  await page.goto(`${base}/`);
  const shown = () => document.querySelector('[data-live="block"]').textContent;
  const before = await page.evaluate(shown);
  await page.waitForFunction((old) => document.querySelector('[data-live="block"]').textContent !== old, before, { timeout: 15000 })
    .catch(() => wrong("/", `no live update after block ${before}`));
  const said = await page.textContent("#live");
  if (!said.startsWith("Live: block ")) wrong("/", `the live line says ${said}`);
  await page.close();
};

const hostileText = async (browser) => {
  const page = await browser.newPage();
  await page.goto(`${base}/account/${hostile}`);
  const text = await page.textContent("main");
  if (!text.includes("<script>window.pwned=1</script>")) wrong("/account", "the endpoint's script is not shown as text");
  await page.close();
};

const withoutScript = async (browser) => {
  const context = await browser.newContext({ javaScriptEnabled: false });
  const page = await context.newPage();
  for (const path of ["/run/0/members", "/run/0", "/run/0/epoch/0/audit"]) {
    await page.goto(base + path);
    if ((await page.$$("main table tbody tr, main .finding")).length === 0) wrong(path, "empty without JavaScript");
  }
  await context.close();
};

// Each button of a chart does what it says, and says that it is pressed; with the mouse and with the keyboard.
const chartSwitches = async (browser) => {
  const where = "/run/0, switches";
  const context = await browser.newContext({ reducedMotion: "reduce" });
  const page = await watched(context, () => where);
  await page.goto(`${base}/run/0?live=off`);
  await page.waitForSelector('.chart[data-chart="loss"] canvas');
  const drawn = () => page.$eval('.chart[data-chart="loss"] canvas', (canvas) => canvas.toDataURL());
  const pressed = () => page.$$eval(".switches button", (all) => all.filter((each) => each.getAttribute("aria-pressed") === "true").map((each) => each.textContent));
  const changes = async (label, expected, press) => {
    const before = await drawn();
    await press();
    const isOther = async () => { for (let turn = 0; turn < 20; turn += 1) { if (await drawn() !== before) return true; await page.waitForTimeout(100); } return false; };
    if (!await isOther()) wrong(where, `${label} does not change the chart`);
    const found = (await pressed()).join(", ");
    if (found !== expected) wrong(where, `after ${label} the pressed buttons are ${found}`);
  };
  const click = (label) => () => page.getByRole("button", { name: label, exact: true }).click();
  await changes("logarithmic", "logarithmic, by epoch", click("logarithmic"));
  await changes("by tokens", "logarithmic, by tokens", click("by tokens"));
  await changes("linear", "linear, by tokens", click("linear"));
  await changes("by epoch", "linear, by epoch", click("by epoch"));
  for (let stop = 0; stop < 60 && await page.evaluate(() => document.activeElement.textContent) !== "logarithmic"; stop += 1) await page.keyboard.press("Shift+Tab");
  await changes("logarithmic by Enter", "logarithmic, by epoch", () => page.keyboard.press("Enter"));
  await context.close();
};

// Every stop of the keyboard on a page, with what a person sees there.
const stops = async (page) => {
  const found = [];
  for (let stop = 0; stop < 400; stop += 1) {
    await page.keyboard.press("Tab");
    const at = await page.evaluate(() => {
      const each = document.activeElement;
      const style = getComputedStyle(each);
      return { tag: each.tagName, text: each.textContent.slice(0, 40), id: each.id, table: each.classList.contains("scroll"), outlined: style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2 };
    });
    if (at.tag === "BODY") break;
    found.push(at);
  }
  return found;
};

const everyStop = async (browser) => {
  const context = await browser.newContext({ viewport: { width: 375, height: 800 } });
  for (const path of ["/run/0/members", "/run/0"]) {
    const page = await watched(context, () => path);
    await page.goto(`${base}${path}?live=off`);
    const found = await stops(page);
    found.filter((each) => !each.outlined).slice(0, 3).forEach((each) => wrong(path, `no outline at the stop ${each.tag} ${each.text}`));
    for (const [what, is] of [["search", (each) => each.id === "q"], ["table", (each) => each.table], ["link", (each) => each.tag === "A"]]) {
      if (!found.some(is)) wrong(path, `the keyboard does not reach a ${what}`);
    }
    await page.close();
  }
  const page = await watched(context, () => "/run/0/members, keyboard");
  await page.goto(`${base}/run/0/members?live=off`);
  const active = () => page.evaluate(() => ({ text: document.activeElement.textContent, table: document.activeElement.classList.contains("scroll"), left: document.activeElement.scrollLeft }));
  const go = async (is) => { for (let stop = 0; stop < 60; stop += 1) { await page.keyboard.press("Tab"); if (is(await active())) return true; } return false; };
  if (!await go((at) => at.table)) wrong("/run/0/members", "the keyboard does not reach the table");
  for (let turn = 0; turn < 3; turn += 1) await page.keyboard.press("ArrowRight");
  await page.waitForTimeout(400);
  if ((await active()).left <= 0) wrong("/run/0/members", "the table does not scroll by the keyboard");
  if (!await go((at) => at.text === "Score")) wrong("/run/0/members", "the keyboard does not reach the heading of scores");
  await Promise.all([page.waitForURL(/sort=score/), page.keyboard.press("Enter")]).catch(() => wrong("/run/0/members", "Enter does not sort"));
  const sorted = await page.$$eval("th[aria-sort=ascending]", (all) => all.map((each) => each.textContent.trim()));
  if (sorted.length !== 1 || !sorted[0].startsWith("Score")) wrong("/run/0/members", `sorted by ${sorted}`);
  await context.close();
};

const byKeyboard = async (browser) => {
  const page = await browser.newPage();
  await page.goto(`${base}/run/0/members`);
  await page.keyboard.press("Tab");
  const first = await page.evaluate(() => document.activeElement.textContent);
  if (first !== "Skip to content") wrong("/run/0/members", `the first stop of the keyboard is ${first}`);
  await page.keyboard.press("Enter");
  const inside = await page.evaluate(() => document.activeElement.id);
  if (inside !== "main") wrong("/run/0/members", `the skip link leads to ${inside}`);
  await page.close();
};

(async () => {
  const browser = await chromium.launch({ executablePath, args: ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"] });
  const count = await every(browser);
  for (const check of [numbers, live, hostileText, withoutScript, byKeyboard, chartSwitches, everyStop]) await check(browser);
  await browser.close();
  console.log(`${count} pages looked at, ${problems.length} problems`);
  problems.forEach((each) => console.log(`  ${each}`));
  process.exit(problems.length === 0 ? 0 : 1);
})().catch((error) => { console.error(error); process.exit(1); });
