-- One step of a ledger, whole or not at all: `Page::carry_out` of page.rs in Lua, held equal to it by tests/ledger/model.rs.
--
-- KEYS: the marker, the record, and the realm's cells, documents and leases. All lie in one slot of a cluster.
-- ARGV: what wire.rs writes, in the order in which it is read here: a JSON array of all numbers and words, since a hundred arguments cost
-- more than the decision, and then names and texts.
--
-- A cell is "TAT HELD ASKED", a document "VERSION BODY". Times are whole microseconds and, as all numbers here, less than 2^53: doubles are
-- exact. (`..` writes 14 digits of a number; what is stored goes through %.0f.) Nothing is written before all has been read and decided.
local call, unpack, tonumber, format = redis.call, unpack, tonumber, string.format
local DONE, BLOCKED, MOVED, WENT_BACK, NO_LEDGER, NEWER, BAD_ROW = 0, 1, 2, 3, 4, 5, 6
local NEVER = -math.huge -- The TAT of a bucket that nobody has spent from.
local LAST = 9007199254740991 -- The last instant, in the year 2255.
local OVERDUE_MAX, ASK_AGAIN = 64, 60000000
local SPREAD = 4000 -- How many values `unpack` may spread at once.

local values, value = cjson.decode(ARGV[1]), 0
-- The next of the array; what there is none of is `false`.
local function number()
  value = value + 1
  return values[value]
end
local place = 1
local function take()
  place = place + 1
  return ARGV[place]
end
-- The range of the next `count` texts.
local function range(count)
  local first = place + 1
  place = place + count
  return first, place
end
-- Fields of a hash by the names in a range of the arguments.
local function fields(key, first, last)
  if last < first then return {} end
  if last - first < SPREAD then return call('HMGET', key, unpack(ARGV, first, last)) end
  local all = {}
  for from = first, last, SPREAD do
    for _, value in ipairs(call('HMGET', key, unpack(ARGV, from, math.min(from + SPREAD - 1, last)))) do
      all[#all + 1] = value
    end
  end
  return all
end
local function write(command, key, values)
  for from = 1, #values, SPREAD do
    call(command, key, unpack(values, from, math.min(from + SPREAD - 1, #values)))
  end
end

-- The marker, and how far the ledger has come.
local marker = call('HMGET', KEYS[1], 'epoch', 'sequence', 'writable_from', 'schema')
local epoch, sequence, writable_from = tonumber(marker[1]), tonumber(marker[2]), tonumber(marker[3])
if not (epoch and sequence and writable_from) then return {NO_LEDGER} end
if writable_from > number() then return {NEWER, tonumber(marker[4]) or writable_from} end

-- The time: the server's, on the caller's scale.
local clock, scale_from, scale_to, speed = call('TIME'), number(), number(), number()
local at = scale_to + (tonumber(clock[1]) * 1000000 + tonumber(clock[2]) - scale_from) * speed

local known_epoch, known_sequence = number(), number()
if known_epoch > epoch or (known_epoch == epoch and known_sequence > sequence) then
  return {WENT_BACK, at, epoch, sequence}
end

-- What the caller has to know.
local valid_from, valid_to, settled, opens_epoch = number(), number(), number(), number()
local expected = number()
local first, last = range(expected)
local moved, rows, unknown, absent = {MOVED, at, epoch, sequence, 0}, fields(KEYS[4], first, last), 0, {}
for index = 1, expected do
  local row, known = rows[index], number()
  local version, body = 0, ''
  if row then
    local blank = string.find(row, ' ', 1, true)
    version = blank and tonumber(string.sub(row, 1, blank - 1))
    if not version then return {BAD_ROW, 'document ' .. ARGV[first + index - 1], row} end
    body = string.sub(row, blank + 1)
  else
    absent[ARGV[first + index - 1]] = true
  end
  if version ~= known then
    unknown = unknown + 1
    moved[#moved + 1] = index - 1
    moved[#moved + 1] = version
    moved[#moved + 1] = body
  end
end
moved[5] = unknown
if settled == 1 then
  for _, name in ipairs(call('ZRANGEBYSCORE', KEYS[5], '-inf', at, 'LIMIT', 0, OVERDUE_MAX)) do
    moved[#moved + 1] = name
  end
end
if at < valid_from or at >= valid_to or #moved > 5 then return moved end

-- The cells, and the buckets that are seen through them.
local cells = number()
local first_cell, last_cell = range(cells)
local tat, held, asked, changed = {}, {}, {}, {}
local found = fields(KEYS[3], first_cell, last_cell)
for cell = 1, cells do
  tat[cell], held[cell], asked[cell] = NEVER, 0, 0
  if found[cell] then
    local t, h, a = string.match(found[cell], '^(%-?%d*) (%d+) (%d+)$')
    if not t then return {BAD_ROW, 'cell ' .. ARGV[first_cell + cell - 1], found[cell]} end
    tat[cell], held[cell], asked[cell] = tonumber(t) or NEVER, tonumber(h), tonumber(a)
  end
end
local cell_of, emission, burst, floor = {}, {}, {}, {}
for bucket = 1, number() do
  cell_of[bucket], emission[bucket], burst[bucket], floor[bucket] = number(), number(), number(), number() or NEVER
end

local blocked = {BLOCKED, at, epoch, sequence}
for _ = 1, number() do
  local bucket, usable, tokens, asks, beside = number(), number(), number(), number(), number()
  local cell = cell_of[bucket]
  if beside > 0 then
    tokens = math.min(tokens + held[cell_of[beside]], burst[bucket])
  end
  local full_at = math.max(tat[cell], floor[bucket], at)
  local fits_at = full_at + emission[bucket] * (tokens + held[cell] - usable)
  if fits_at > at and (asks == 1 or asked[cell] > 0) then
    if asks == 0 then
      -- It would take, unasked, what another order was let go for. That one is soon over.
      fits_at = math.min(fits_at, at + ASK_AGAIN)
    end
    blocked[#blocked + 1] = bucket - 1
    blocked[#blocked + 1] = math.min(fits_at, LAST)
  end
end
if #blocked > 4 then return blocked end

-- It is a yes.
local done, denied = {DONE}, 5
local function spend(cell, bucket, now)
  local full_at = math.max(tat[cell], now)
  local empty = now + emission[bucket] * burst[bucket]
  tat[cell] = math.max(math.min(full_at + emission[bucket], empty), full_at)
end
local moves = number()
for _ = 1, moves do
  local bucket, motion, with = number(), number(), number()
  local cell = cell_of[bucket]
  tat[cell], changed[cell] = math.max(tat[cell], floor[bucket]), true
  if motion == 'hold' then
    held[cell], asked[cell] = held[cell] + 1, asked[cell] + with
  elseif motion == 'spend' or motion == 'release' then
    held[cell], asked[cell] = math.max(held[cell] - 1, 0), math.max(asked[cell] - with, 0)
    if motion == 'spend' then spend(cell, bucket, at) end
  elseif motion == 'charge' then
    spend(cell, bucket, with or at)
  elseif motion == 'try' then
    if math.max(tat[cell], at) + emission[bucket] * (1 + held[cell] - burst[bucket]) <= at then
      spend(cell, bucket, at)
    else
      done[denied] = bucket - 1
      denied = denied + 1
    end
  elseif motion == 'raise' then
    tat[cell] = math.max(tat[cell], with + emission[bucket] * (burst[bucket] - 1))
  end
end
local writes, records = number(), number()
local first_write = place
place = place + 2 * writes
if moves + writes + records + opens_epoch > 0 then
  sequence = sequence + 1
  if opens_epoch > 0 then epoch = math.max(epoch + 1, math.floor(at / 1000000)) end
  local version = format('%.0f', sequence)
  -- First what may be refused: a record that is ahead of the marker.
  if records == 1 then
    call('XADD', KEYS[2], version .. '-0', 'at', format('%.0f', at), 'realm', take(), 'body', take())
  end
  local kept = {}
  for cell = 1, cells do
    if changed[cell] then
      local t = tat[cell] == NEVER and '-' or format('%.0f', tat[cell])
      kept[#kept + 1] = ARGV[first_cell + cell - 1]
      kept[#kept + 1] = format('%s %.0f %.0f', t, held[cell], asked[cell])
    end
  end
  write('HSET', KEYS[3], kept)
  local texts, gone, leases, ended = {}, {}, {}, {}
  place = first_write
  for _ = 1, writes do
    local name, body, there, lease = take(), take(), number(), number()
    if there == 1 then
      texts[#texts + 1] = name
      texts[#texts + 1] = version .. ' ' .. body
    else
      gone[#gone + 1] = name
    end
    if lease then
      leases[#leases + 1] = format('%.0f', lease)
      leases[#leases + 1] = name
    elseif not absent[name] then
      ended[#ended + 1] = name
    end
  end
  write('HSET', KEYS[4], texts)
  write('HDEL', KEYS[4], gone)
  write('ZADD', KEYS[5], leases)
  write('ZREM', KEYS[5], ended)
  call('HSET', KEYS[1], 'epoch', format('%.0f', epoch), 'sequence', version)
end
done[2], done[3], done[4] = at, epoch, sequence
return done
