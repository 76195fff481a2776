-- suspend: parks tasks until one of the results that they wait for comes.
-- include index
-- KEYS  per task: record, journal, session index, data stream (which is to last as long as the wait, whose length nobody
--       knows; `conclude` gives it its time to live again at the task's end)
-- ARGV  per task: fence, what it waits for (agent, user or timer), home (see `deliver`), envelope, count of operations,
--       operations
-- Answers per task '' (parked), 'ready' (one of the results has come: it goes on), {fence that holds} if that is not the
-- one given, or {fence, cancel} if the task is cancelled.
local out = {}
local at = 1
for i = 1, #KEYS / 4 do
  local record, journal = KEYS[4 * i - 3], KEYS[4 * i - 2]
  local fence, count = ARGV[at], tonumber(ARGV[at + 4])
  local held = redis.call('HMGET', record, 'fence', 'cancel')
  if held[1] ~= fence then
    out[i] = { held[1] or '' }
  elseif held[2] then
    out[i] = { fence, held[2] }
  else
    out[i] = ''
    for number = 1, count do
      if redis.call('HEXISTS', journal, '=' .. ARGV[at + 4 + number]) == 1 then
        out[i] = 'ready'
        break
      end
    end
    if out[i] == '' then
      local parked = string.gsub(fence, '^R(:%d+:[^:]*:).*$', 'W%1')
      redis.call('PERSIST', KEYS[4 * i])
      local index = KEYS[4 * i - 1]
      if redis.call('ZADD', index, SUSPENDED, string.sub(string.match(record, '[^}]*$'), 2)) == 1 then count_open(index) end
      redis.call('HSET', record, 'fence', parked, 'waits_for', ARGV[at + 1], 'home', ARGV[at + 2], 'envelope', ARGV[at + 3])
    end
  end
  at = at + 5 + count
end
return out
