-- admit: makes the records of tasks whose control entries were just written, or that wait on the agenda.
-- KEYS  per task: record, session index
-- ARGV  per task: message id, agent type, trace id, parent message id, user code, timing: '' or `<delay>:<expiry>` in ms
--       from now, each may be empty, then `:<lane>` if only the worker of that lane may run it
-- Answers per task 1 (made), 0 (the record was there: the same message was sent before) or, if it was made and is
-- cancelled, the request (JSON).
-- The fence packs `state:epoch:live entry:owner`; Q with an empty entry waits for `begin` to bind one, D is held back
-- until the agenda puts an entry on the stream. Who is sent by a task that was cancelled is cancelled, too.
local time = redis.call('TIME')
local now_number = time[1] * 1000 + math.floor(time[2] / 1000)
local now = string.format('%.0f', now_number)
local out = {}
for i = 1, #KEYS / 2 do
  local record, index, at = KEYS[2 * i - 1], KEYS[2 * i], 6 * i - 5
  local message_id, parent, timing = ARGV[at], ARGV[at + 3], ARGV[at + 5]
  local delay, expiry, lane = string.match(timing, '^(%d*):(%d*):?(.*)$')
  local held_back = delay and delay ~= ''
  if redis.call('HSETNX', record, 'fence', held_back and 'D:0::' or 'Q:0::') == 1 then
    redis.call('HSET', record, 'agent_type', ARGV[at + 1], 'trace_id', ARGV[at + 2],
      'parent_message_id', parent, 'user_code', ARGV[at + 4], 'created_at', now)
    if held_back then redis.call('HSET', record, 'due_at', string.format('%.0f', now_number + delay)) end
    if expiry and expiry ~= '' then
      redis.call('HSET', record, 'expires_at', string.format('%.0f', now_number + expiry))
    end
    if lane and lane ~= '' then redis.call('HSET', record, 'lane', lane) end
    out[i] = 1
    if parent ~= '' then
      local above = redis.call('HMGET', string.sub(record, 1, -#message_id - 1) .. parent, 'fence', 'cancel')
      if above[2] or (above[1] and string.sub(above[1], 1, 1) == 'X') then
        out[i] = above[2] or '{}'
        redis.call('HSET', record, 'cancel', out[i])
      end
    end
    redis.call('ZADD', index, now, message_id)
    -- A session's index outlives the longest wait in it, and a day; where a task is suspended it has no end.
    if held_back and redis.call('PTTL', index) < delay + 86400000
      and redis.call('ZCOUNT', index, 1e15, '+inf') == 0 then
      redis.call('PEXPIRE', index, string.format('%.0f', delay + 86400000))
    end
  else
    out[i] = 0
  end
end
return out
