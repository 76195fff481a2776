-- history-put-by: puts messages by, of which their history cannot be told now.
-- KEYS  1: buffer (stream)
-- ARGV  1: most messages, 2: TTL (ms), then the messages
-- Answers how many were taken; the others found no room.
local room = tonumber(ARGV[1]) - redis.call('XLEN', KEYS[1])
local taken = math.max(math.min(room, #ARGV - 2), 0)
for i = 1, taken do redis.call('XADD', KEYS[1], '*', 'data', ARGV[i + 2]) end
if taken > 0 then redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
return taken
