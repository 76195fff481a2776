-- enqueue: puts envelopes on control streams of one slot.
-- KEYS  per task: control stream
-- ARGV  per task: envelope, turn or ''
-- Answers the entry ids.
local out = {}
for i = 1, #KEYS do
  local data, turn = ARGV[2 * i - 1], ARGV[2 * i]
  if turn == '' then
    out[i] = redis.call('XADD', KEYS[i], '*', 'data', data)
  else
    out[i] = redis.call('XADD', KEYS[i], '*', 'data', data, 'turn', turn)
  end
end
return out
