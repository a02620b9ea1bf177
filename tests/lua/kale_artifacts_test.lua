-- What artifacts look like in reports.
local test = require "test"
local proc = require "proc"
local host = require "host"
local artifacts = require "kale.artifacts"
local fs = require "fs"
local hash = require "hash"
local json = require "json"
local kfp = require "kfp"

local function file(text, name)
  local path = test.tmpdir() .. "/" .. (name or "data")
  fs.write(path, text)
  return path
end

local function shows(html, text)
  if not (html and html:find(text, 1, true)) then error(("no '%s' in %s"):format(text, tostring(html)), 2) end
end

test("a confusion matrix is a table with its names, a ROC curve is drawn with its area", function()
  local html = artifacts.render("scores", { type = { schemaTitle = "system.ClassificationMetrics" }, metadata = {
    confusionMatrix = { annotationSpecs = { { displayName = "cat" }, { displayName = "<dog>" } },
      rows = { { row = { 8, 2 } }, { row = { 1, 9 } } } },
    confidenceMetrics = { { confidenceThreshold = 2, recall = 0, falsePositiveRate = 0 },
      { confidenceThreshold = 0.5, recall = 1, falsePositiveRate = 0.5 },
      { confidenceThreshold = 0, recall = 1, falsePositiveRate = 1 } } } })
  shows(html, "<th>&lt;dog&gt;</th>")
  shows(html, ">9</td>")
  shows(html, "ROC, area 0.750")
  shows(html, "<svg")
  test.equal(artifacts.render("none", { type = { schemaTitle = "system.ClassificationMetrics" }, metadata = {} }), nil)
end)

test("metrics, tables, images, pages and texts are shown as what they are; other bytes are not", function()
  shows(artifacts.render("m", { type = { schemaTitle = "system.Metrics" },
    metadata = { accuracy = 0.5, note = "a<b" } }), "a&lt;b")
  local csv = artifacts.render("d", { uri = file 'id,name\n1,"Smith, ""J"""\n2,x\n' })
  shows(csv, '<th class="number">id</th><th>name</th>')
  shows(csv, "Smith, &quot;J&quot;")
  shows(csv, "2 of 2 rows")
  local png = hash.unbase64("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk"
    .. "+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==")
  shows(artifacts.render("p", { uri = "file://" .. file(png) }), '<img alt="p" src="data:image/png;base64,iVBOR')
  local page = artifacts.render("h", { type = { schemaTitle = "system.HTML" }, uri = file '<b onclick="x">hi</b>' })
  shows(page, "iframe sandbox")
  shows(page, 'srcdoc="&lt;b onclick=&quot;x&quot;')
  shows(artifacts.render("t", { uri = file "just <text>" }), "<pre>just &lt;text&gt;</pre>")
  test.equal(artifacts.render("b", { uri = file "\128\4pickled\0" }), nil)
  test.equal(artifacts.render("gone", { uri = "/nowhere/at/all" }), nil)
  test.equal(artifacts.render("far", { uri = "minio://bucket/key" }), nil)
  test.equal(artifacts.render("dir", { uri = test.tmpdir() }), nil)
end)

-- A component that writes what the executor of the SDK writes.
local IR = [[
schemaVersion: 2.1.0
sdkVersion: kfp-2.17.0
pipelineInfo: {name: shows}
components:
  comp-a:
    executorLabel: exec-a
    outputDefinitions:
      artifacts:
        scores: {artifactType: {schemaTitle: system.ClassificationMetrics, schemaVersion: 0.0.1}}
        rows: {artifactType: {schemaTitle: system.Dataset, schemaVersion: 0.0.1}}
deploymentSpec:
  executors:
    exec-a:
      container:
        image: python:3.11
        command: [python3, -c]
        args:
        - |
          import json, os, sys
          given = json.loads(sys.argv[1])
          out = given["outputs"]["artifacts"]
          for name in out:
              os.makedirs(os.path.dirname(out[name]["artifacts"][0]["uri"]), exist_ok=True)
          open(out["rows"]["artifacts"][0]["uri"], "w").write("a,b\n1,2\n")
          scores = dict(out["scores"]["artifacts"][0])
          names = [{"displayName": "yes"}]
          scores["metadata"] = {"confusionMatrix": {"annotationSpecs": names, "rows": [{"row": [7]}]}}
          path = given["outputs"]["outputFile"]
          os.makedirs(os.path.dirname(path), exist_ok=True)
          open(path, "w").write(json.dumps({"artifacts": {"scores": {"artifacts": [scores]}}}))
        - '{{$}}'
root:
  dag: {tasks: {a: {componentRef: {name: comp-a}, taskInfo: {name: a}}}}
]]

test("artifacts of a pipeline that ran here are found in its outputs", function()
  local result = kfp.run(kfp.decode(IR), { root = test.tmpdir() .. "/run" })
  if result.state ~= "succeeded" then error(json.encode(result.tasks[1]), 0) end
  local html = artifacts.section(result.tasks[1].outputs)
  shows(html, "Confusion matrix")
  shows(html, ">7</td>")
  shows(html, '<th class="number">a</th><th class="number">b</th>')
  test.equal(artifacts.section(result.tasks[1].outputs, { rows = true, scores = true }), "")
end)

test("kale run runs a compiled pipeline, too, and its report shows what its tasks made", function()
  local folder = test.tmpdir()
  fs.write(folder .. "/shows.yaml", IR .. "  inputDefinitions:\n    parameters:\n"
    .. "      list: {parameterType: LIST, defaultValue: []}\n")
  local function run(...)
    return proc.run { host.executable(), "kale", "run", folder .. "/shows.yaml", "--json", ... }
  end
  local said = run("-p", 'list=[1, "two"]')
  if said.code ~= 0 then error(said.stderr, 0) end
  local line = json.decode(said.stdout)
  test.same({ line.state, #line.steps, line.steps[1].name }, { "succeeded", 1, "a" })
  local report = fs.read(line.directory .. "/report.html")
  for _, text in ipairs { "Confusion matrix", ">7</td>", "[1,&quot;two&quot;]", "shows.yaml" } do
    shows(report, text)
  end
  test.equal(run("-p", "list=5").code, 2)
  test.equal(run("--from", "a").code, 2)
end)

test("Markdown is shown as it is meant; what it must not do is text", function()
  local html = require "kale.markdown".html
  test.equal(html "# A\n\nb *c* `d*e*`\n\n1. x\n   * y\n\n> q", "<h3>A</h3><p>b <em>c</em> <code>d*e*</code></p>"
    .. "<ol><li>x<ul><li>y</li></ul></li></ol><blockquote><p>q</p></blockquote>")
  test.equal(html "| a | b |\n|---|--:|\n| 1 | 2 |", '<table><tr><th>a</th><th class="number">b</th></tr>'
    .. '<tr><td>1</td><td class="number">2</td></tr></table>')
  test.equal(html "```\n<b>\n```\n---\nsnake_case_name 2 * 3 * 4", "<pre>&lt;b&gt;</pre><hr>"
    .. "<p>snake_case_name 2 * 3 * 4</p>")
  test.equal(html "<script>x</script> [a](javascript:b)", "<p>&lt;script&gt;x&lt;/script&gt; a</p>")
  -- as deep or as long as anybody likes, in linear time
  for _, unit in ipairs { "> ", "[a", "`a", "*a ", "- " } do html(unit:rep(30000)) end
end)
