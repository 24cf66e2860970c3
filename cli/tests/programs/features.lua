-- What the language and its library do, one line of output for each.

-- Closures: each has variables of its own, shared with its siblings.
local function counter()
  local n = 0
  return function() n = n + 1; return n end, function() n = 0 end
end
local up, reset = counter()
up(); up(); local two = up() - 1; reset()
print("closures", two, up())

-- Coroutines: values go both ways, errors come out, closing runs what is pending.
local co = coroutine.create(function(a, b)
  local c = coroutine.yield(a + b)
  local d, e = coroutine.yield(c * 2)
  error({ code = d + e })
end)
print("coroutine", select(2, coroutine.resume(co, 1, 2)), select(2, coroutine.resume(co, 10)))
local ok, err = coroutine.resume(co, 3, 4)
print("ended", ok, err.code, coroutine.status(co))
local closed = {}
local waiting = coroutine.create(function()
  local guard <close> = setmetatable({}, { __close = function() closed[#closed + 1] = "closed" end })
  coroutine.yield()
end)
coroutine.resume(waiting)
print("closing", coroutine.close(waiting), closed[1])
local function walk(tree)
  if tree then walk(tree[1]); coroutine.yield(tree[2]); walk(tree[3]) end
end
local order = {}
for value in coroutine.wrap(function() walk({ { nil, 1 }, 2, { { nil, 3 }, 4 } }) end) do
  order[#order + 1] = value
end
print("traversal", table.concat(order, " "))

-- Errors: through Lua, through C, out of handlers, and again.
print("pcall", pcall(error, "text", 0))
print("table", select(2, pcall(error, { 7 }))[1])
print("nil", pcall(error))
print("place", select(2, pcall(function() local x = nil; return x.field end)))
print("gsub", pcall(string.gsub, "abc", "%w", function(c) if c == "b" then error("at " .. c, 0) end end))
print("sort", pcall(table.sort, { 3, 2, 1, 5, 4 }, function() error("compare", 0) end))
print("nested", pcall(pcall, error, "inner"))
print("handler", xpcall(function() error("x", 0) end, function(m) return m .. " handled" end))
print("across", pcall(coroutine.wrap(function() pcall(coroutine.yield); error("late", 0) end)))
print("yields", (function()
  local inner = coroutine.wrap(function() return pcall(function() coroutine.yield(1); error("after", 0) end) end)
  return inner(), inner()
end)())
local depth = 0
local function deep() depth = depth + 1; return 1 + deep() end
local fine, message = pcall(deep)
print("recursion", fine, message:match("stack overflow"), depth > 1000)
print("metamethod", pcall(function() return setmetatable({}, { __index = function(_, k) error(k, 0) end }).key end))
for i = 1, 10000 do assert(not pcall(error, i)) end
print("assert", select("#", assert(1, 2, 3)), pcall(assert, false, "no"))

-- Strings and patterns.
print("gsub", ("hello world"):gsub("(%w+) (%w+)", "%2 %1"))
print("find", ("key = value # note"):find("^(%w+)%s*=%s*(%w+)"))
print("balance", ("f(a(b)c)d"):match("%b()"), ("THE (quick) fox"):find("%((%a+)%)"))
print("frontier", ("THE (quick) fox"):gsub("%f[%a]%a+", string.lower))
local words = {}
for word, number in ("a=1, b=22, c=333"):gmatch("(%w+)=(%d+)") do words[#words + 1] = word .. number end
print("gmatch", table.concat(words, ";"))
print("format", ("%5.2f|%-6s|%06d|%x|%q|%a"):format(3.14159, "ab", -42, 255, 'q"\n', 0.5))
print("pack", string.unpack("<i4 z s1", string.pack("<i4 z s1", -2, "zero", "len")))
print("utf8", utf8.char(228, 8364, 128512), utf8.len("äöü"), #"äöü")
print("complex", pcall(string.rep, "x", 1 << 40))

-- Numbers.
print("numbers", 7 // 2, -7 // 2, 7 % -3, 7 / 2, 2 ^ 10, 1 << 62, math.maxinteger + 1 == math.mininteger)
print("floats", 1e15, 0.1, -0.0, 1 / 0, math.pi, 2 ^ 53, 100 // 1e300)
print("integers", math.tointeger(3.0), math.type(1), math.type(1.0), "10" + 5, 0x7fffffffffffffff)
print("divide", pcall(function() return 1 // 0 end))

-- Tables, metatables, goto, varargs.
local Vector = {}
Vector.__index = Vector
Vector.__add = function(a, b) return setmetatable({ a[1] + b[1] }, Vector) end
Vector.__eq = function(a, b) return a[1] == b[1] end
Vector.__lt = function(a, b) return a[1] < b[1] end
Vector.__call = function(self, x) return self[1] * x end
Vector.__tostring = function(self) return "<" .. self[1] .. ">" end
local v, w = setmetatable({ 1 }, Vector), setmetatable({ 2 }, Vector)
print("vector", tostring(v + w), v == w, v < w, w(21), #table.pack(table.unpack({ 1, 2, 3 }, 1, 5)))
local list = {}
for i = 10, 1, -3 do
  if i == 4 then goto continue end
  list[#list + 1] = i
  ::continue::
end
table.sort(list); table.insert(list, 2, 99); table.move(list, 1, 2, 5)
print("list", table.concat(list, ","), select(-1, "a", "b"))

-- Collection: weak tables forget, finalizers run.
local weak, finalized = setmetatable({}, { __mode = "v" }), 0
for i = 1, 100 do
  weak[i] = setmetatable({}, { __gc = function() finalized = finalized + 1 end })
end
collectgarbage(); collectgarbage()
print("collected", #weak, finalized)
collectgarbage("generational")
local text = {}
for i = 1, 20000 do text[i % 100 + 1] = { i, tostring(i) } end
print("generations", text[1][2], load("return 6 * 7")(), load("return +"))
print("dump", load(string.dump(function(a) return a * 2 end))(21))
print("dates", os.date("!%Y-%m-%d %H:%M:%S", 951782400), os.time({ year = 2000, month = 1, day = 1, hour = 12 }))
