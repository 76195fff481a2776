-- unstage: puts what was laid down on the control stream, not before it is due.
-- KEYS  1: stage (list), 2: its room (stream), 3: control stream
-- ARGV  1: when it is due (Unix ms), 2: turn of its entries
-- Answers {ms until it is due, entries written}. Nothing is written before that time, nor if the stage is gone.
local call, stream, turn = redis.call, KEYS[3], ARGV[2]
local time = call('TIME')
local left = ARGV[1] - (time[1] * 1000 + math.floor(time[2] / 1000))
if left > 0 then return { left, 0 } end
call('DEL', KEYS[2])
local count = 0
while true do
  -- A few at a time: what Lua has of them is soon free for the next.
  local texts = call('LPOP', KEYS[1], 50)
  if not texts then return { 0, count } end
  for i = 1, #texts do call('XADD', stream, '*', 'data', texts[i], 'turn', turn) end
  count = count + #texts
end
