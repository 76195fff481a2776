-- enqueue: puts envelopes on control streams of one slot.
-- KEYS  per task: control stream
-- ARGV  per task: envelope, turn ('' for none), limit (0 for none), for a first send how the key of its record goes on
--       behind what all begin with ('' for none): see `take`
-- Answers per task the entry's id, or '' where the stream has as many entries as its limit allows: then nothing was
-- written for that task. Nothing is ever trimmed to make room.
local out = {}
for i = 1, #KEYS do
  local data, turn, limit, task = ARGV[4 * i - 3], ARGV[4 * i - 2], tonumber(ARGV[4 * i - 1]), ARGV[4 * i]
  if limit > 0 and redis.call('XLEN', KEYS[i]) >= limit then
    out[i] = ''
  elseif task ~= '' then
    out[i] = redis.call('XADD', KEYS[i], '*', 'data', data, 'task', task)
  elseif turn == '' then
    out[i] = redis.call('XADD', KEYS[i], '*', 'data', data)
  else
    out[i] = redis.call('XADD', KEYS[i], '*', 'data', data, 'turn', turn)
  end
end
return out
