-- reclaim: takes over entries whose lease has run out, in place, so that their order is kept.
-- include clock
-- KEYS  control streams of one slot, those to be walked first standing first
-- ARGV  1: group, 2: consumer, 3: least idle time (ms), 4: most entries of all streams together, 5: most of one stream, 6: Unix
--       ms after which nothing is taken, or '': a call that was held up while the server was away would find the leases of
--       the living run out; then per stream: cursor
-- Answers {per stream {next cursor, {{id, {field, value…}, deliveries}…}}, error or '', its time in Unix ms}. The walk of a stream is bounded
-- by the server (ten times the count) and goes on from its cursor at the next call, so that entries in front cannot hide
-- those behind. A stream that fails (its group may be gone) keeps its cursor, and nobody else from being walked; if all
-- of them fail, that is the answer, as an error like any other (the connection is to see that a server is read-only).
local left, out, failures, failure = tonumber(ARGV[4]), {}, 0, nil
local now = tonumber(clock())
if ARGV[6] ~= '' and now > tonumber(ARGV[6]) then left = 0 end
for i = 1, #KEYS do
  local taken, cursor = {}, ARGV[6 + i]
  local count = math.min(left, tonumber(ARGV[5]))
  if count > 0 then
    local reply = redis.pcall('XAUTOCLAIM', KEYS[i], ARGV[1], ARGV[2], ARGV[3], cursor, 'COUNT', count)
    if reply.err then
      failures, failure = failures + 1, reply
    else
      cursor = reply[1]
      for _, entry in ipairs(reply[2]) do
        -- Before 7.0 the server hands out deleted entries as nil; they cannot be told by id then, and stay for the next
        -- walk.
        if entry and entry[2] then
          local pending = redis.call('XPENDING', KEYS[i], ARGV[1], entry[1], entry[1], 1)
          taken[#taken + 1] = { entry[1], entry[2], pending[1] and pending[1][4] or 1 }
        end
      end
      left = left - #taken
    end
  end
  out[i] = { cursor, taken }
end
if failures == #KEYS then return failure end
return { out, failure and failure.err or '', now }
