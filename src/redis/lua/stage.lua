-- stage: lays envelopes down beside their control stream, for the moment at which they are due.
-- KEYS  1: stage (list)
-- ARGV  1: ms until it goes by itself, 2…: envelopes
-- Asked again it lays down the same.
redis.call('DEL', KEYS[1])
for from = 2, #ARGV, 1000 do redis.call('RPUSH', KEYS[1], unpack(ARGV, from, math.min(from + 999, #ARGV))) end
redis.call('PEXPIRE', KEYS[1], ARGV[1])
return #ARGV - 1
