-- newest: notes what was sent last, for workers that wait for it: see `begin-newest`. For scripts that begin with
-- `-- include newest`.

-- More are not noted: where so many wait, nobody is idle.
local MOST_NEWEST, NEWEST_MS = 8, '10000'
local newest = {}
local function note_newest(line)
  if #newest < MOST_NEWEST then newest[#newest + 1] = line end
end
local function keep_newest(key)
  if newest[1] then redis.call('SET', key, table.concat(newest, '\n'), 'PX', NEWEST_MS) end
end
