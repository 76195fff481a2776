-- make: the birth of a task's record. For scripts that begin with `-- include index` and `-- include make`.

-- Makes the record of a task unless it is there, and puts it on its session's index. `timing` is '' or `<delay>:<expiry>`
-- in ms from now, each may be empty, then `:<lane>` if only the worker of that lane may run it.
-- Answers 1 (made), 0 (the record was there: the same message was sent before) or, if it is cancelled and waits for its first
-- start, the request (JSON): who is sent by a task that was cancelled is cancelled, too. Asked again it answers so again: who was
-- told that first ends the task, and may not have heard it.
-- The fence packs `state:epoch:live entry:owner`; Q with an empty entry waits for `begin` to bind one, D is held back
-- until the agenda puts an entry on the stream.
local function make(now, record, index, message_id, agent_type, trace_id, parent, user_code, timing)
  local delay, expiry, lane
  if timing ~= '' then delay, expiry, lane = string.match(timing, '^(%d*):(%d*):?(.*)$') end
  local held_back = delay and delay ~= ''
  -- First, since on a Cluster it may be on its way to another server, which is an error.
  local above = parent ~= ''
    and redis.call('HMGET', string.sub(record, 1, -#message_id - 1) .. parent, 'fence', 'cancel')
  if redis.call('HSETNX', record, 'fence', held_back and 'D:0::' or 'Q:0::') == 0 then
    local held = redis.call('HMGET', record, 'fence', 'cancel')
    return (held[1] == 'Q:0::' or held[1] == 'D:0::') and held[2] or 0
  end
  if parent == '' and user_code == '' then
    redis.call('HSET', record, 'agent_type', agent_type, 'trace_id', trace_id, 'created_at', now)
  else
    redis.call('HSET', record, 'agent_type', agent_type, 'trace_id', trace_id, 'parent_message_id', parent,
      'user_code', user_code, 'created_at', now)
  end
  if held_back then redis.call('HSET', record, 'due_at', string.format('%.0f', now + delay)) end
  if expiry and expiry ~= '' then redis.call('HSET', record, 'expires_at', string.format('%.0f', now + expiry)) end
  if lane and lane ~= '' then redis.call('HSET', record, 'lane', lane) end
  local answer = 1
  if above and (above[2] or (above[1] and string.sub(above[1], 1, 1) == 'X')) then
    answer = above[2] or '{}'
    redis.call('HSET', record, 'cancel', answer)
  end
  enlist(index, now, message_id)
  return answer
end
