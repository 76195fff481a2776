-- admit: makes the records of tasks whose control entries were just written.
-- KEYS  per task: record, session index
-- ARGV  per task: message id, agent type, trace id, parent message id, user code
-- Answers per task 1 (made) or 0 (the record was there: the same message was sent before).
-- The fence packs `state:epoch:live entry:owner`; Q with an empty entry waits for `begin` to bind one.
local time = redis.call('TIME')
local now = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000))
local out = {}
for i = 1, #KEYS / 2 do
  local record, index, at = KEYS[2 * i - 1], KEYS[2 * i], 5 * i - 4
  if redis.call('HSETNX', record, 'fence', 'Q:0::') == 1 then
    redis.call('HSET', record, 'agent_type', ARGV[at + 1], 'trace_id', ARGV[at + 2],
      'parent_message_id', ARGV[at + 3], 'user_code', ARGV[at + 4], 'created_at', now)
    redis.call('ZADD', index, now, ARGV[at])
    out[i] = 1
  else
    out[i] = 0
  end
end
return out
