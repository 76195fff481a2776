-- enqueue: puts envelopes on control streams of one slot.
-- KEYS  per task: control stream
-- ARGV  per task: envelope
-- Answers the entry ids.
local out = {}
for i = 1, #KEYS do
  out[i] = redis.call('XADD', KEYS[i], '*', 'data', ARGV[i])
end
return out
