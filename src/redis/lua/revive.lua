-- revive: makes failed tasks wait for a worker again, with a fresh budget and the history they have.
-- include clock
-- include index
-- KEYS  per task: record, session index
-- ARGV  1: 1 to look only; then per task: message id, turn and id of the control entry whose failure it was, what a
--       record that is gone is to be: '' to be told, or JSON with the epoch and all fields as texts
-- Answers per task {status, epoch, 1 if a failure of that entry is history by now}:
--   revived  the task waits for an entry with this epoch as its turn; also if somebody else has revived it already
--   missing  the record is gone: ask again and say what to make of it
--   waiting  it is on its way to a worker by itself
--   running  a worker has it
--   ended    it came to another end than FAILED
-- The epoch stays and only grows with the next begin, so an entry of the life before can never begin again; that of a task
-- that was never begun becomes 1, since an entry of that life has no turn, which is as good as 0. With its epoch
-- `life` also tells this life from those before, whose journals are gone: what the handler calls is to have other names
-- than what it called then. One that was never begun has called nothing. A task is listed first: an index of another kind is an
-- error, and then its record is as it was.
local now = clock()
local writes = ARGV[1] ~= '1'
local out = {}
for i = 1, #KEYS / 2 do
  local record, index, at = KEYS[2 * i - 1], KEYS[2 * i], 4 * i - 2
  local message_id, turn, entry_id, birth = ARGV[at], tonumber(ARGV[at + 1]), ARGV[at + 2], ARGV[at + 3]
  local held = redis.call('HGET', record, 'fence')
  if held then
    local state, epoch, entry = string.match(held, '^(%u):(%d+):([^:]*):')
    local later = tonumber(epoch) > turn and 1 or 0
    if state == 'F' then
      if writes then
        enlist(index, now, message_id)
        if epoch ~= '0' then redis.call('HSET', record, 'life', epoch) else epoch = '1' end
        redis.call('HSET', record, 'fence', 'Q:' .. epoch .. '::', 'failures', 0)
        redis.call('HDEL', record, 'finished_at', 'end_id', 'result', 'error', 'content', 'cancel', 'expires_at',
          'due_at', 'started_at', 'attempt', 'restarts')
        redis.call('PERSIST', record)
      end
      out[i] = { 'revived', epoch, 0 }
    elseif state == 'C' or state == 'X' or state == 'E' then
      out[i] = { 'ended', epoch, 1 }
    elseif state == 'Q' or state == 'D' or state == 'T' then
      -- Later than the failure: revived by one who did not live to put the entry on its stream.
      out[i] = { state == 'Q' and later == 1 and 'revived' or 'waiting', epoch, later }
    else
      out[i] = { 'running', epoch, entry ~= entry_id and later or 0 }
    end
  elseif birth == '' then
    out[i] = { 'missing', '0', 0 }
  else
    local born = cjson.decode(birth)
    if writes then
      enlist(index, now, message_id)
      -- Its first life has spoken, at least its end: the next attempt begins with a rewind.
      redis.call('HSET', record, 'fence', 'Q:' .. born.epoch .. '::', 'failures', 0, 'written', 1, 'agent_type', born.agent_type,
        'trace_id', born.trace_id, 'parent_message_id', born.parent_message_id, 'user_code', born.user_code,
        'created_at', now, 'life', born.epoch)
    end
    out[i] = { 'revived', born.epoch, 0 }
  end
end
return out
