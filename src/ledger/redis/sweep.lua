-- Takes away those of the named cells that still hold nothing and are full before an instant. How many.
-- KEYS: the realm's cells. ARGV: the instant in microseconds, and fields.
local gone = 0
for place = 2, #ARGV do
  local cell = redis.call('HGET', KEYS[1], ARGV[place])
  local tat = cell and string.match(cell, '^(%-?%d*) 0 %d+$')
  if tat and (tonumber(tat) or -math.huge) < tonumber(ARGV[1]) then
    gone = gone + redis.call('HDEL', KEYS[1], ARGV[place])
  end
end
return gone
