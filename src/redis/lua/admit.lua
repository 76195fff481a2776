-- admit: makes the records of tasks whose control entries were just written, or that wait on the agenda.
-- include clock
-- include index
-- include make
-- KEYS  per task: record, session index
-- ARGV  per task: message id, agent type, trace id, parent message id, user code, timing (see `make`)
-- Answers per task what `make` says.
local now = clock()
local out = {}
for i = 1, #KEYS / 2 do
  out[i] = make(now, KEYS[2 * i - 1], KEYS[2 * i], unpack(ARGV, 6 * i - 5, 6 * i))
end
return out
