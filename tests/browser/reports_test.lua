-- Reports in a real browser: Chromium draws them, and says what it has drawn.
local test = require "test"
local artifacts = require "kale.artifacts"
local fs = require "fs"
local json = require "json"
local proc = require "proc"
local server = require "server"
local page = require "kale.page"
local run_report = require "kale.report"
local tune_report = require "kale.tune_report"

-- What is asked of a page once it is drawn: sizes of drawings, texts that stick out of theirs, requests that it made.
local PROBE = [[<script>
addEventListener("load", () => {
  const out = [], over = [], svgs = [...document.querySelectorAll("svg")];
  for (const svg of svgs) {
    const frame = svg.getBoundingClientRect();
    const boxes = [];
    for (const text of svg.querySelectorAll("text")) {
      const box = text.getBoundingClientRect();
      for (const [name, one] of boxes) {
        const beside = box.left >= one.right - 1 || one.left >= box.right - 1;
        if (!beside && box.top < one.bottom - 3 && one.top < box.bottom - 3)
          over.push(name + " / " + text.textContent);
      }
      boxes.push([text.textContent, box]);
      if (box.width && (box.left < frame.left - 1 || box.right > frame.right + 1 || box.top < frame.top - 1 ||
          box.bottom > frame.bottom + 1)) out.push(text.textContent);
    }
  }
  const said = { drawings: svgs.length, flat: svgs.filter(s => s.getBoundingClientRect().height < 20).length, out, over,
    high: Math.max(...[...document.querySelectorAll("td, th")].map(c => c.getBoundingClientRect().height)),
    links: [...document.links].map(l => l.protocol), rich: document.querySelectorAll(".words strong").length,
    images: [...document.images].filter(i => i.naturalWidth === 0).length, width: document.documentElement.scrollWidth,
    requests: performance.getEntriesByType("resource").filter(r => !r.name.startsWith("data:")).length,
    headings: [...document.querySelectorAll("h2")].map(h => h.textContent) };
  const text = JSON.stringify(said).replace(/&/g, "&amp;").replace(/</g, "&lt;");
  document.body.innerHTML = "<pre id=said>" + text + "</pre>";
});
</script>]]

local function look(html)
  local folder = test.tmpdir()
  fs.write(folder .. "/report.html", (html:gsub("</body>", function() return PROBE .. "</body>" end)))
  local done = proc.run { "chromium", "--headless", "--no-sandbox", "--disable-gpu", "--window-size=1100,1600",
    "--disable-background-networking", "--user-data-dir=" .. folder .. "/profile", "--virtual-time-budget=3000",
    "--dump-dom", "file://" .. folder .. "/report.html", env = { HOME = folder } }
  local said = done.stdout:match '<pre id="said">(.-)</pre>'
  if not said then error(done.stderr .. done.stdout:sub(-500), 0) end
  return json.decode((said:gsub("&lt;", "<"):gsub("&gt;", ">"):gsub("&amp;", "&")))
end

local function check(said, drawings, headings)
  test.same(said.out, {})
  test.same(said.over, {})
  test.equal(said.flat, 0)
  test.equal(said.images, 0)
  test.equal(said.requests, 0)
  test.equal(said.width <= 1100, true)
  test.equal(said.drawings, drawings)
  test.same(said.headings, headings)
end

local function trials(count)
  local list = {}
  for i = 1, count do
    list[i] = { metadata = { name = "square-abcde-trial" .. i }, spec = { parameterAssignments = {
      { name = "learning_rate", value = tostring(i / 100) },
      { name = "optimizer", value = i % 2 == 0 and "adam" or "sgd" },
      { name = "depth", value = tostring(i % 5 + 1) } } },
      status = { startTime = "2026-01-01T00:00:00Z", completionTime = "2026-01-01T00:00:05Z",
        conditions = { { type = i % 7 == 0 and "Failed" or "Succeeded", status = "True" } },
        observation = i % 7 ~= 0 and { metrics = { { name = "loss", min = tostring((i - 9) ^ 2 / 10), max = "9",
          latest = "1" } } } or nil } }
  end
  return list
end

test("the report of a tuned notebook is drawn whole, and asks nobody", function()
  local experiment = { metadata = { name = "square-abcde" }, spec = { objective = { type = "minimize",
    objectiveMetricName = "loss" }, algorithm = { algorithmName = "tpe" }, parameters = { { name = "learning_rate" },
    { name = "optimizer" }, { name = "depth" } } },
    status = { conditions = { { type = "Succeeded", message = "done" } } } }
  local histories = { ["square-abcde-trial1"] = { { name = "loss", value = 3 }, { name = "loss", value = 2 } } }
  check(look(tune_report.render(experiment, trials(20), { histories = histories, notebook = "square.ipynb" })), 4,
    { "Best trial", "Objective by trial", "Parallel coordinates", "Importance of parameters", "Within the trials",
      "Trials" })
end)

test("what steps display may name any address: the page asks none of them", function()
  local folder, asked = test.tmpdir(), {}
  local listening <close> = server.listen { handler = function(request)
    asked[#asked + 1] = request.path
    return { status = 200, body = "" }
  end }
  local function page_of(name)
    local text = '<img src="@.png"><script src="@.js"></script><link rel="stylesheet" href="@.css">'
      .. '<iframe src="@.html"></iframe><script>fetch("@.fetch")</script>'
      .. '<style>p { background: url(@.background) }</style><p>x</p>'
    return (text:gsub("@", ("http://127.0.0.1:%d/%s"):format(listening.port, name)))
  end
  fs.write(folder .. "/page.html", page_of "artifact")
  local outputs = { page = { uri = folder .. "/page.html", type = { schemaTitle = "system.HTML" } } }
  look(run_report.render { name = "n", notebook = "n.py", state = "succeeded", seconds = 1, metrics = {}, params = {},
    steps = { { name = "a", after = {}, cells = { 1 }, state = "succeeded", html = page_of "displayed",
      artifacts = artifacts.section(outputs) } } })
  test.same(asked, {})
end)

test("long names, long choices and parameters that do not vary leave the report legible", function()
  local list = trials(20)
  for i, one in ipairs(list) do
    one.metadata.name = "a-rather-long-name-of-an-experiment-abcde-" .. i
    table.insert(one.spec.parameterAssignments, { name = "batch_size", value = "32" })
    table.insert(one.spec.parameterAssignments, { name = "a_parameter_with_a_very_long_name_indeed", value = i % 2 == 0
      and "a choice of many words, it's \"quoted\" and <b>" or "none" })
  end
  local experiment = { metadata = { name = "a-rather-long-name-of-an-experiment-abcde" }, spec = {
    objective = { type = "minimize", objectiveMetricName = "loss" }, algorithm = { algorithmName = "tpe" },
    parameters = { { name = "learning_rate", feasibleSpace = { distribution = "logUniform" } }, { name = "optimizer" },
      { name = "depth" }, { name = "batch_size" }, { name = "a_parameter_with_a_very_long_name_indeed" } } },
    status = { conditions = { { type = "Succeeded", message = "done" } } } }
  local html = tune_report.render(experiment, list, { notebook = "square.ipynb" })
  local said = look(html)
  check(said, 3, { "Best trial", "Objective by trial", "Parallel coordinates", "Importance of parameters", "Trials" })
  test.equal(said.high < 40, true) -- no cell of many lines
  test.equal(html:find(">35.2<", 1, true), nil) -- an axis that all share at 32 has that mark alone
end)

test("the report of a run with all kinds of artifacts is drawn whole, and asks nobody", function()
  local folder = test.tmpdir()
  fs.write(folder .. "/rows.csv", "name,value\na,1\nb,2\n")
  fs.write(folder .. "/plot.svg", '<svg xmlns="http://www.w3.org/2000/svg" width="200" height="80"><rect width="9" '
    .. 'height="9"/></svg>')
  fs.write(folder .. "/page.html", '<h1>page</h1><img src="http://127.0.0.1:9/x.png">')
  fs.write(folder .. "/lines", '{"a": 1, "b": 2}\n{"a": 3, "b": 4}\n')
  fs.write(folder .. "/words.md", "# Results\n\n* **0.9** and <b>more</b> of [it](https://example.org)\n"
    .. "* [bad](javascript:alert(1)) ![picture](http://127.0.0.1:9/y.png)\n\n| a | b |\n|---|--:|\n| 1 | **2** |\n")
  local curve = { { recall = 0, falsePositiveRate = 0 }, { recall = 1, falsePositiveRate = 1 } }
  local outputs = { lines = { uri = folder .. "/lines" }, page = { uri = folder .. "/page.html",
      type = { schemaTitle = "system.HTML" } },
    words = { uri = folder .. "/words.md", type = { schemaTitle = "system.Markdown" } },
    numbers = { type = { schemaTitle = "system.Metrics" }, metadata = { accuracy = 0.5 } },
    slices = { type = { schemaTitle = "system.SlicedClassificationMetrics" }, metadata = { evaluationSlices = {
      { slice = "young", sliceClassificationMetrics = { confidenceMetrics = curve } } } } },
    rows = { uri = folder .. "/rows.csv" }, plot = { uri = folder .. "/plot.svg" },
    scores = { uri = folder .. "/scores", type = { schemaTitle = "system.ClassificationMetrics" }, metadata = {
      confusionMatrix = { annotationSpecs = { { displayName = "cat" }, { displayName = "dog" } },
        rows = { { row = { 8, 2 } }, { row = { 1, 9 } } } },
      confidenceMetrics = { { recall = 0, falsePositiveRate = 0 }, { recall = 0.8, falsePositiveRate = 0.1 },
        { recall = 1, falsePositiveRate = 1 } } } } }
  local function step(name, after, state)
    return { name = name, after = after, cells = { 1 }, state = state, seconds = 1.5, started = 0, log = "line <1>\n",
      artifacts = name == "train" and artifacts.section(outputs) or nil }
  end
  local html = run_report.render { name = "digits", notebook = "digits.ipynb", state = "failed", seconds = 3,
    metrics = { { "accuracy", "0.9" } }, params = { { "rate", "0.1" } },
    steps = { step("load", {}, "succeeded"), step("train", { "load" }, "succeeded"),
      step("a-rather-long-name-of-a-step", { "load" }, "cached"), step("judge", { "train" }, "failed") } }
  local said = look(html)
  test.same({ said.rich, said.links }, { 2, { "https:", "http:" } }) -- a picture is a link: nothing is loaded
  for _, text in ipairs { "{&quot;a&quot;: 1, &quot;b&quot;: 2}", "accuracy</td>", "young", "&lt;b&gt;more" } do
    if not html:find(text, 1, true) then error(text .. " is not in the report", 0) end
  end
  check(said, 3, { "Pipeline", "Metrics", "Parameters", "Steps", "load ", "train ",
    "a-rather-long-name-of-a-step cached", "judge failed" })
  test.equal(type(page.render), "function")
end)
