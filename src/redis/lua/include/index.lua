-- index: a session's index of its tasks. For scripts that begin with `-- include index`.

-- The score of a task is when (ms) it was last known to be there: at first its birth. SUSPENDED is who is suspended, or was:
-- so long the session's data stream has no time to live. The member that is the empty text counts the tasks that have no
-- end, downwards: -2 for two. So long the index has no time to live; the last end gives it one. A count costs a
-- third of what it takes to move each task to another place at its end.
local SUSPENDED = '2e15'

local function count_open(index)
  if redis.call('ZINCRBY', index, '-1', '') == '-1' then redis.call('PERSIST', index) end
end

local function enlist(index, now, message_id)
  redis.call('ZADD', index, now, message_id)
  count_open(index)
end
