-- journal-open: notes that tasks begin operations, and makes the records of the tasks that those call.
-- include answers
-- include clock
-- include index
-- include newest
-- KEYS  per operation: record, journal, record of the called task (where none is called: the record again), session index
--       (for a step: the data stream), blobs
-- ARGV  per operation: fence, operation, entry (JSON), the emitter's sum or '', id of the called task or '', its agent
--       type, trace id, user code, id of the calling task, 1 if the caller waits for the end,
--       2 for a step: the entry then keeps where the data stream ends; on a single Redis, else '': the control stream of
--       the called task, its envelope, how inboxes are written (see `deliver`), and the key of the newest sends (see
--       `begin-newest`)
-- Answers per operation {'', state of the called task, result}: the state is 'unbound' if its envelope must be put on its
-- control stream (for it may never have been: a duplicate does no harm), else 'bound' or ''; the result is '' while there
-- is none. On a single Redis the envelope is put there at once, and who waits is woken by whoever writes the result; on a
-- Cluster those streams lie in other slots, which no script touches. Or {fence that holds} if that is not the one given, or
-- {fence, cancel} if the task is cancelled: nothing was written then. An operation that was noted before stays as it is, and
-- a called task that nobody waits for, or whose result has come, is not made again when its record has expired.
local now = clock()
local out = {}
local newest_key
for i = 1, #KEYS / 5 do
  local record, journal, child, index = KEYS[5 * i - 4], KEYS[5 * i - 3], KEYS[5 * i - 2], KEYS[5 * i - 1]
  local at = 14 * i - 13
  local fence, op, sum, child_id = ARGV[at], ARGV[at + 1], ARGV[at + 3], ARGV[at + 4]
  local held = redis.call('HMGET', record, 'fence', 'cancel', 'journal', 'inbox')
  if held[1] ~= fence then
    out[i] = { held[1] or '' }
  elseif held[2] then
    out[i] = { fence, held[2] }
  else
    local inbox = ARGV[at + 12] ~= '' and not held[4] and { 'inbox', ARGV[at + 12] } or {}
    if not held[3] then
      redis.call('HSET', record, 'journal', journal, 'blobs', KEYS[5 * i], unpack(inbox))
      if sum ~= '' then redis.call('HSET', record, 'sum', sum) end
    elseif inbox[1] then
      redis.call('HSET', record, unpack(inbox))
    end
    local state = ''
    local opened = now
    if ARGV[at + 9] == '2' then
      local newest = redis.call('XREVRANGE', index, '+', '-', 'COUNT', 1)
      opened = now .. '@' .. (newest[1] and newest[1][1] or '0-0')
    end
    -- There is a result only if the operation was noted before, or the called task has its end.
    local may_have_result = redis.call('HSETNX', journal, op, opened .. ' ' .. ARGV[at + 2]) == 0
    if child_id ~= '' then
      local below = redis.call('HMGET', child, 'fence', 'reply_to')
      local waits = ARGV[at + 9] == '1' and record .. ' ' .. journal .. ' ' .. op
      if not below[1] and may_have_result and (not waits or redis.call('HEXISTS', journal, '=' .. op) == 1) then
        -- Made when the operation was noted; it has had its end and its time since.
        state = 'bound'
      elseif not below[1] then
        redis.call('HSET', child, 'fence', 'Q:0::', 'agent_type', ARGV[at + 5], 'trace_id', ARGV[at + 6], 'user_code',
          ARGV[at + 7], 'parent_message_id', ARGV[at + 8], 'created_at', now, unpack(waits and { 'reply_to', waits } or {}))
        enlist(index, now, child_id)
        state = 'unbound'
      else
        if waits and not (below[2] and string.find('\n' .. below[2] .. '\n', '\n' .. waits .. '\n', 1, true)) then
          redis.call('HSET', child, 'reply_to', (below[2] and below[2] .. '\n' or '') .. waits)
        end
        state = below[1] == 'Q:0::' and 'unbound' or 'bound'
        if waits and string.find('CFXE', string.sub(below[1], 1, 1), 1, true) then
          deliver(record, journal, op, outcome(child))
          may_have_result = true
        end
      end
    end
    if state == 'unbound' and ARGV[at + 10] ~= '' then
      local id = redis.call('XADD', ARGV[at + 10], '*', 'data', ARGV[at + 11])
      note_newest(ARGV[at + 10] .. ' ' .. id .. ' ' .. child)
      newest_key = ARGV[at + 13]
      state = 'bound'
    end
    out[i] = { '', state, may_have_result and redis.call('HGET', journal, '=' .. op) or '' }
  end
end
keep_newest(newest_key)
return out
