-- Small programs that compute for a while: their results are known from elsewhere.

local function queens(n)
  local columns, up, down, found = {}, {}, {}, 0
  local function place(row)
    if row > n then found = found + 1; return end
    for column = 1, n do
      if not (columns[column] or up[row + column] or down[row - column]) then
        columns[column], up[row + column], down[row - column] = true, true, true
        place(row + 1)
        columns[column], up[row + column], down[row - column] = nil, nil, nil
      end
    end
  end
  place(1)
  return found
end

local function fannkuch(n)
  local p, q, s, sign, maxflips, sum = {}, {}, {}, 1, 0, 0
  for i = 1, n do p[i], q[i], s[i] = i, i, i end
  while true do
    local first = p[1]
    if first ~= 1 then
      for i = 2, n do q[i] = p[i] end
      local flips = 1
      while q[first] ~= 1 do
        local last = q[first]
        q[first] = first
        if first >= 4 then
          local i, j = 2, first - 1
          repeat q[i], q[j] = q[j], q[i]; i = i + 1; j = j - 1 until i >= j
        end
        first = last
        flips = flips + 1
      end
      sum = sum + sign * flips
      if flips > maxflips then maxflips = flips end
    end
    if sign == 1 then
      p[1], p[2] = p[2], p[1]
      sign = -1
    else
      p[2], p[3] = p[3], p[2]
      sign = 1
      for i = 3, n do
        if s[i] ~= 1 then s[i] = s[i] - 1; break end
        if i == n then return sum, maxflips end
        s[i] = i
        local t = p[1]
        for j = 1, i do p[j] = p[j + 1] end
        p[i + 1] = t
      end
    end
  end
end

local function spectral(n)
  local function a(i, j) local ij = i + j - 1; return 1.0 / (ij * (ij - 1) * 0.5 + i) end
  local function times(x, y, transposed)
    for i = 1, n do
      local sum = 0
      for j = 1, n do sum = sum + x[j] * (transposed and a(j, i) or a(i, j)) end
      y[i] = sum
    end
  end
  local u, v, t = {}, {}, {}
  for i = 1, n do u[i] = 1 end
  for _ = 1, 10 do
    times(u, t); times(t, v, true); times(v, t); times(t, u, true)
  end
  local uv, vv = 0, 0
  for i = 1, n do uv = uv + u[i] * v[i]; vv = vv + v[i] * v[i] end
  return string.format("%0.9f", math.sqrt(uv / vv))
end

print("queens", queens(7))
print("fannkuch", fannkuch(7))
print("spectral", spectral(40))
