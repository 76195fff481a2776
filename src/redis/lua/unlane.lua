-- unlane: takes the entries of a task that has its end off the lane of one worker, who may never come back to see them off.
-- KEYS  1: the worker's own lane
-- ARGV  1: session id, 2: message id
-- Answers how many there were. Whoever has one in hand can do no more with it than this.
local PAGE = 100
local function is_meant(fields)
  for i = 1, #fields, 2 do
    -- Most are told apart without being read.
    if fields[i] == 'data' and string.find(fields[i + 1], ARGV[2], 1, true) then
      local ok, command = pcall(cjson.decode, fields[i + 1])
      local header = ok and type(command) == 'table' and command.header
      return type(header) == 'table' and header.session_id == ARGV[1] and header.message_id == ARGV[2]
    end
  end
  return false
end
if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
local groups = {}
for _, flat in ipairs(redis.call('XINFO', 'GROUPS', KEYS[1])) do
  for i = 1, #flat, 2 do
    if flat[i] == 'name' then groups[#groups + 1] = flat[i + 1] end
  end
end
local removed = 0
local from = '-'
repeat
  local page = redis.call('XRANGE', KEYS[1], from, '+', 'COUNT', PAGE)
  for _, entry in ipairs(page) do
    if is_meant(entry[2]) then
      for _, group in ipairs(groups) do redis.call('XACK', KEYS[1], group, entry[1]) end
      removed = removed + redis.call('XDEL', KEYS[1], entry[1])
    end
    from = '(' .. entry[1]
  end
until #page < PAGE
if redis.call('XLEN', KEYS[1]) == 0 then redis.call('DEL', KEYS[1]) end
return removed
