-- clock: the server's clock. For scripts that begin with `-- include clock`.

-- Unix ms as text. To print a number as one costs more than most commands; Lua counts with such a text all the same.
local function clock()
  local time = redis.call('TIME')
  return time[1] .. string.sub('00000' .. time[2], -6, -4)
end
