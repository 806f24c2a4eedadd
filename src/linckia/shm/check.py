"""The store core's invariants, checked by a second pair of eyes: nothing lost, nothing twice, all indexes agree.

Called by tests and the simulator after each step. It reads the core's private state and changes nothing.
"""

from __future__ import annotations

from linckia.shm.store import StoreCore


def check_store(core: StoreCore) -> None:
    """Raise AssertionError that names the first broken invariant."""
    core._ranges.check()
    _check_ranges(core)
    _check_extents(core)
    _check_blocks(core)
    _check_clients(core)


def _check_ranges(core: StoreCore) -> None:
    own = {b.offset: core._ranges.rounded(b.size) for b in core._blocks.values() if b.extent is None}
    leased = {e.start: e.size for e in core._extents.values()}
    _require(core._ranges.used == {**own, **leased}, "used ranges are not the extents and the blocks of dead holders")
    _require(core._ranges.used_bytes + core._ranges.free_bytes == core.capacity_bytes, "bytes are missing")


def _check_extents(core: StoreCore) -> None:
    _require(core._starts == sorted(core._extents), "the sorted starts are not those of the extents")
    for extent in core._extents.values():
        name = f"extent {extent.start}"
        _require(extent.start in core._clients[extent.holder].extents, f"{name}: the holder does not know it")
        sealed = {(offset, core._blocks[offset].owner) for offset in extent.blocks}
        _require(not sealed & extent.freed_early, f"{name}: a sealed block was freed early")
    known = sum(len(client.extents) for client in core._clients.values())
    _require(known == len(core._extents), "a client knows a foreign extent")


def _check_blocks(core: StoreCore) -> None:
    _require(core._sealed_bytes == sum(b.size for b in core._blocks.values()), "sealed_bytes is wrong")
    copied = sum(b.size for b in core._blocks.values() if b.extent is not None and b.extent.holder in core.evictable)
    _require(core.copied_bytes == copied, "copied_bytes is wrong")
    position = 0
    for offset, block in sorted(core._blocks.items()):
        _require(offset == block.offset >= position, f"block {offset} overlaps the one before it")
        position = offset + block.size
        _require(bool(block.owner or block.adopters), f"block {offset} is kept by nobody")
        if block.extent is not None:
            inside = block.extent.start <= offset and position <= block.extent.start + block.extent.size
            _require(inside and offset in block.extent.blocks, f"block {offset} is not in its extent")
            _require(core._extents.get(block.extent.start) is block.extent, f"block {offset} is in a former extent")
    listed = sum(len(e.blocks) for e in core._extents.values())
    _require(listed == sum(b.extent is not None for b in core._blocks.values()), "an extent lists a block that is gone")


def _check_clients(core: StoreCore) -> None:
    for client, known in core._clients.items():
        owned = {b.offset for b in core._blocks.values() if b.owner == client}
        adopted = {b.offset for b in core._blocks.values() if client in b.adopters}
        _require(known.owned.keys() == owned, f"{known.name}: wrong list of owned blocks")
        _require(known.adopted.keys() == adopted, f"{known.name}: wrong list of adopted blocks")
        _require(known.owned_bytes == sum(core._blocks[o].size for o in owned), f"{known.name}: wrong owned_bytes")
        _require(client not in core._dead, f"{known.name} is buried and has state")
    early = {adopter for adopters in core._adopted_early.values() for adopter in adopters}
    _require(not early & core._dead.keys(), "a buried process still adopts")
    _require(all(w.client not in core._dying for w in core._waiting), "a dead client waits")
    for client in core._dying:
        _require(client in core._clients, "a dying client has no state")


def _require(holds: bool, text: str) -> None:
    if not holds:
        raise AssertionError(text)
