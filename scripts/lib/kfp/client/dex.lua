-- Logging in at Dex through the proxy in front of Kubeflow, by its pages, as a browser does. A part of kfp.client.
-- Not for tokens: see auth.
--   local jar = dex.login(client, { user = "a@example.com", password = "…", connector = "ldap" })
local auth = require "kfp.client.auth"
local errors = require "errors"
local escape = require "kfp.client.query".escape

local M = {}

local MOST_STEPS = 15

-- --- pages ------------------------------------------------------------------------------------------------------

local function keep_cookies(jar, response)
  for line in (response.headers["set-cookie"] or ""):gmatch "[^\n]+" do
    local name, value = line:match "^%s*([^=;%s]+)=([^;]*)"
    local gone = line:lower():find "max%-age=0" or line:find "[Ee]xpires=[^;]*1970"
    if name then jar[name] = not gone and value or nil end
  end
end

local function absolute(base, location)
  if location:find "^https?://" then return location end
  local origin = base:match "^(https?://[^/?#]+)"
  if location:sub(1, 2) == "//" then return base:match "^https?:" .. location end
  if location:sub(1, 1) == "/" then return origin .. location end
  if location == "" then return base end
  return (base:match "^(https?://[^?#]*/)" or origin .. "/") .. location
end

local ENTITIES = { amp = "&", quot = '"', lt = "<", gt = ">", apos = "'" }

local function unescape(text)
  return (text:gsub("&(#?)(%w+);", function(number, name)
    if number == "" then return ENTITIES[name] end
    local code = name:find "^[xX]" and tonumber(name:sub(2), 16) or tonumber(name)
    return code and code < 0x110000 and utf8.char(code) or nil
  end))
end

-- Follows redirects, keeps cookies; the last answer and its address.
local function visit(client, jar, request)
  for _ = 1, MOST_STEPS do
    request.headers = { Cookie = auth.cookies(jar), ["Content-Type"] = request.kind, Accept = "text/html" }
    request.timeout = client.options.timeout or "60s"
    local response = client.transport(request)
    keep_cookies(jar, response)
    local location = response.headers.location
    if response.status < 300 or response.status >= 400 or not location then return response, request.url end
    request = { method = "GET", url = absolute(request.url, location) }
  end
  errors.raise { code = "Auth", message = "the login leads from one address to the next without an end" }
end

-- --- forms ------------------------------------------------------------------------------------------------------

local function attribute(tag, name)
  local value = tag:match("%s" .. name .. '%s*=%s*"([^"]*)"') or tag:match("%s" .. name .. "%s*=%s*'([^']*)'")
    or tag:match("%s" .. name .. "%s*=%s*([^%s>\"']+)")
  return value and unescape(value)
end

-- The forms of a page: method, action, and their fields with the values that are there already.
local function forms_of(page)
  local forms = {}
  for tag, inside in page:gmatch "(<[fF][oO][rR][mM][^>]*>)(.-)</[fF][oO][rR][mM]>" do
    local form = { method = (attribute(tag, "method") or "GET"):upper(), action = attribute(tag, "action") or "",
      fields = {} }
    for input in inside:gmatch "<[iI][nN][pP][uU][tT][^>]*>" do
      local name = attribute(input, "name")
      if name then form.fields[#form.fields + 1] = { name = name, value = attribute(input, "value") or "" } end
      form.has_password = form.has_password or name == "password"
    end
    forms[#forms + 1] = form
  end
  return forms
end

local function encoded(fields)
  local parts = {}
  for i, field in ipairs(fields) do parts[i] = escape(field.name) .. "=" .. escape(field.value) end
  return table.concat(parts, "&")
end

local function request_of(form, url)
  local target, body = absolute(url, form.action), encoded(form.fields)
  if form.method == "POST" then
    return { method = "POST", url = target, body = body, kind = "application/x-www-form-urlencoded" }
  end
  return { method = "GET", url = body == "" and target or target:gsub("%?.*$", "") .. "?" .. body }
end

local function with_password(page)
  for _, form in ipairs(forms_of(page)) do
    if form.has_password then return form end
  end
  return nil
end

-- --- the way to the form -----------------------------------------------------------------------------------------

-- Dex's page of connectors has a link for each; the name of one may begin like another's.
local function connector_link(page, connector)
  local name = connector:gsub("%p", "%%%0") .. "%f[?&/#\0]"
  for href in page:gmatch "href%s*=%s*[\"']([^\"']+)[\"']" do
    local link = unescape(href)
    if link:find("/auth/" .. name) or link:find("connector_id=" .. name) then return link end
  end
  return nil
end

-- The proxy's own page has a button: a form that only leads on.
local function next_form(page)
  for _, form in ipairs(forms_of(page)) do
    if form.method == "GET" then return form end
  end
  return nil
end

-- What to ask for next on the way to the form of the connector; nil when the page leads nowhere.
local function way_on(page, url, connector)
  local link = connector_link(page, connector)
  if link then return { method = "GET", url = absolute(url, link) } end
  local form = next_form(page)
  return form and request_of(form, url)
end

local function offers_connectors(page)
  return page:find "href%s*=%s*[\"'][^\"']*/auth/" ~= nil or page:find("connector_id=", 1, true) ~= nil
end

-- The form of the connector: pages before it may have a button, or ask which connector.
local function find_form(client, jar, response, url, connector)
  for _ = 1, MOST_STEPS do
    local form = with_password(response.body)
    if form then return form, url end
    local request = way_on(response.body, url, connector)
    if not request then break end
    response, url = visit(client, jar, request)
  end
  local more = offers_connectors(response.body) and "" or (" (%s answered with status %d)"):format(url:match "^[^?]*",
    response.status)
  errors.raise { code = "Auth",
    message = ("there is no login form for the connector '%s'%s"):format(connector, more) }
end

-- Where the login ended: what stands there is no matter once the proxy is passed.
local function check_end(dex, after, url)
  if with_password(after.body) then
    errors.raise { code = "Auth", message = ("Dex refuses user '%s' or the password"):format(dex.user) }
  end
  local on_the_way = url:find "/auth[/?]" or url:find "/approval[/?]" or url:find "/callback[/?]"
  if after.status >= 400 and on_the_way then
    errors.raise { code = "Auth", status = after.status,
      message = ("the login of user '%s' ends at %s with status %d"):format(dex.user, url:match "^[^?]*",
        after.status) }
  end
end

---Logs in and keeps all cookies.
---@param client table
---@param dex {user: string, password: string, connector: string?}
---@return table<string, string> jar # raises "Auth"
function M.login(client, dex)
  local jar = {}
  local response, url = visit(client, jar, { method = "GET", url = client.endpoint .. "/" })
  local form, place = find_form(client, jar, response, url, dex.connector or "local")
  for i = #form.fields, 1, -1 do
    local name = form.fields[i].name
    if name == "login" or name == "password" then table.remove(form.fields, i) end
  end
  table.insert(form.fields, 1, { name = "login", value = dex.user })
  table.insert(form.fields, 2, { name = "password", value = dex.password })
  form.method = "POST"
  check_end(dex, visit(client, jar, request_of(form, place)))
  return jar
end

return M
