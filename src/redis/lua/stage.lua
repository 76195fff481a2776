-- stage: lays envelopes down beside their control stream, for the moment at which they are due.
-- KEYS  1: stage (list), 2: its room (stream)
-- ARGV  1: ms until both go by themselves, 2: turn of the entries, 3…: envelopes
-- Asked again it lays down the same. The room holds what the control stream will: given up in that moment, it leaves
-- memory of the very sizes that are needed, and new memory would be most of the time (15 us a page on some machines).
redis.call('DEL', KEYS[1], KEYS[2])
for from = 3, #ARGV, 1000 do redis.call('RPUSH', KEYS[1], unpack(ARGV, from, math.min(from + 999, #ARGV))) end
for i = 3, #ARGV do redis.call('XADD', KEYS[2], '*', 'data', ARGV[i], 'turn', ARGV[2]) end
redis.call('PEXPIRE', KEYS[1], ARGV[1])
redis.call('PEXPIRE', KEYS[2], ARGV[1])
return #ARGV - 2
