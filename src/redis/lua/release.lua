-- release: gives back entries that were taken and never begun, for any worker to take at once.
-- KEYS  1: control stream
-- ARGV  1: group; then ids
-- Answers how many were put back. The entry goes to the end of its stream under a new id; as it was never bound to a
-- record, whichever entry begins first is the live one.
local released = 0
for i = 2, #ARGV do
  local entry = redis.call('XRANGE', KEYS[1], ARGV[i], ARGV[i])
  if entry[1] then
    redis.call('XADD', KEYS[1], '*', unpack(entry[1][2]))
    released = released + 1
  end
  redis.call('XACK', KEYS[1], ARGV[1], ARGV[i])
  redis.call('XDEL', KEYS[1], ARGV[i])
end
return released
