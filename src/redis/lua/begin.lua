-- begin: takes ownership of tasks for one worker, or says why not.
-- KEYS  per task: record
-- ARGV  1: worker id; then per task: control entry id
-- Answers per task {epoch, written, created_at}, or one of the texts
--   missing  the record does not exist (a foreign writer, or a sender that died in between): admit it, then ask again
--   ended    the task has its end: ack the entry
--   stale    another entry is the live one: ack this one
-- Ownership hangs on the id of the one live entry, never on a state alone: a worker that dies between delivery and
-- start leaves the state as it was, and the redelivered entry must still be the one that may run.
local time = redis.call('TIME')
local now = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000))
local out = {}
for i = 1, #KEYS do
  local entry_id = ARGV[i + 1]
  local held = redis.call('HMGET', KEYS[i], 'fence', 'written', 'created_at')
  if not held[1] then
    out[i] = 'missing'
  else
    local state, epoch, entry = string.match(held[1], '^(%u):(%d+):([^:]*):')
    if (state == 'Q' and (entry == '' or entry == entry_id)) or (state == 'R' and entry == entry_id) then
      epoch = string.format('%.0f', epoch + 1)
      redis.call('HSET', KEYS[i], 'fence', 'R:' .. epoch .. ':' .. entry_id .. ':' .. ARGV[1], 'started_at', now)
      out[i] = { epoch, held[2] or '0', held[3] or now }
    elseif state == 'Q' or state == 'R' then
      out[i] = 'stale'
    else
      out[i] = 'ended'
    end
  end
end
return out
