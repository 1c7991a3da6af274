//! The card's partition table, and what it says of the two slots for systems. Nothing here reads or writes the card.
//!
//! ```text
//! sector 0      the table: what the board starts                     slot:  ┌──────────────────────┐
//! sector 8      the table to return to, when a trial begins                 │ boot: FAT, firmware, │
//! sector 9      the table that makes what is on trial permanent             │ kernel, initramfs    │
//! 4 MiB         slot ─┐ one is partitions 1 and 2, and is started;          ├──────────────────────┤
//! 132 MiB       slot ─┘ the other one is partition 4, the spare             │ system: squashfs     │
//! 260 MiB …     state: partition 3                                          └──────────────────────┘
//! ```
//! A board's firmware takes partition 1, wherever it begins, so that one sector decides which system is started: with its
//! firmware, kernel, initramfs and root file system. The type of partition 4 says whether what is started is on trial; the
//! initramfs of that system then writes sector 8 over sector 0 before it does anything else.
#![forbid(unsafe_code)]

/// Bytes of a sector, in which partition tables count.
pub(super) const SECTOR: usize = 512;
/// Sectors of a slot: 128 MiB. The boot partition takes 64 MiB; that leaves a system room to grow to more than twice of
/// what it is. `scripts/appliance/init` makes the spare slot as large.
pub(super) const SLOT: u32 = 262_144;
/// The sector with the table in force.
pub(super) const TABLE: u64 = 0;
/// The sector with the table to return to when a trial begins; `scripts/appliance/init` reads it there.
pub(super) const BACK: u64 = 8;
/// The sector with the table that makes the system on trial permanent.
pub(super) const KEPT: u64 = 9;

/// Where the four entries begin, what an entry takes, and what ends the sector.
const ENTRIES: usize = 446;
const ENTRY: usize = 16;
const END: [u8; 2] = [0x55, 0xaa];
/// Types of partitions: FAT32 with and without LBA, Linux, data without a file system, and the one that is left to
/// everybody's own use, which marks a trial here.
const FAT: [u8; 2] = [0x0c, 0x0b];
const LINUX: u8 = 0x83;
const SPARE: u8 = 0xda;
const TRIAL: u8 = 0x7f;
const BOOTABLE: u8 = 0x80;
/// Cylinder, head and sector of places beyond what these can say.
const BEYOND: [u8; 3] = [0xfe, 0xff, 0xff];

/// A sector of the card.
pub(super) type Sector = [u8; SECTOR];

/// One entry.
#[derive(Clone, Copy)]
struct Partition {
    kind: u8,
    first: u32,
    sectors: u32,
}

impl Partition {
    fn end(self) -> u64 {
        u64::from(self.first) + u64::from(self.sectors)
    }
}

/// A partition table with two slots.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PartitionTable(Sector);

impl PartitionTable {
    /// The table in a sector; `None` if that is none, or one without two slots.
    pub(super) fn of(sector: &Sector) -> Option<Self> {
        let table = Self(*sector);
        let [boot, system, state, spare] = [0, 1, 2, 3].map(|at| table.entry(at));
        let slots_end = u64::from(boot.first.max(spare.first)) + u64::from(SLOT);
        let is_one = sector.ends_with(&END)
            && FAT.contains(&boot.kind)
            && [SPARE, TRIAL].contains(&spare.kind)
            && spare.sectors == SLOT
            && boot.first.abs_diff(spare.first) == SLOT
            && boot.end() <= u64::from(system.first)
            && system.end() <= u64::from(boot.first) + u64::from(SLOT)
            && (state.kind == 0 || u64::from(state.first) >= slots_end);
        is_one.then_some(table)
    }

    pub(super) fn sector(&self) -> &Sector {
        &self.0
    }

    /// First sector of the slot that is started.
    pub(super) fn active(&self) -> u32 {
        self.entry(0).first
    }

    /// First sector of the other slot.
    pub(super) fn spare(&self) -> u32 {
        self.entry(3).first
    }

    /// Whether what is started is on trial, which has not begun.
    pub(super) fn is_trial(&self) -> bool {
        self.entry(3).kind == TRIAL
    }

    /// The table that starts the spare slot, whose boot partition takes so many sectors.
    pub(super) fn switched(&self, boot_sectors: u32) -> Self {
        let (active, spare) = (self.active(), self.spare());
        let mut new = self.clone();
        let system = Partition { kind: LINUX, first: spare + boot_sectors, sectors: SLOT - boot_sectors };
        new.set(0, BOOTABLE, Partition { kind: FAT[0], first: spare, sectors: boot_sectors });
        new.set(1, 0, system);
        new.set(3, 0, Partition { kind: SPARE, first: active, sectors: SLOT });
        new
    }

    /// The same table, that starts a trial.
    pub(super) fn on_trial(&self) -> Self {
        let mut new = self.clone();
        new.set(3, 0, Partition { kind: TRIAL, ..self.entry(3) });
        new
    }

    fn entry(&self, at: usize) -> Partition {
        let entry = &self.0[ENTRIES + at * ENTRY..][..ENTRY];
        let number = |at: usize| u32::from_le_bytes([entry[at], entry[at + 1], entry[at + 2], entry[at + 3]]);
        Partition { kind: entry[4], first: number(8), sectors: number(12) }
    }

    fn set(&mut self, at: usize, status: u8, partition: Partition) {
        let entry = &mut self.0[ENTRIES + at * ENTRY..][..ENTRY];
        let [a, b, c] = BEYOND;
        entry[..8].copy_from_slice(&[status, a, b, c, partition.kind, a, b, c]);
        entry[8..12].copy_from_slice(&partition.first.to_le_bytes());
        entry[12..].copy_from_slice(&partition.sectors.to_le_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOOT: u32 = 131_072;
    const FIRST: u32 = 8192;
    const STATE: u32 = FIRST + 2 * SLOT;

    /// A card as `scripts/image` and the first start make it.
    fn card() -> PartitionTable {
        let mut table = PartitionTable([0; SECTOR]);
        table.0[SECTOR - 2..].copy_from_slice(&END);
        table.0[440..444].copy_from_slice(b"disk");
        table.set(0, BOOTABLE, Partition { kind: FAT[0], first: FIRST, sectors: BOOT });
        table.set(1, 0, Partition { kind: LINUX, first: FIRST + BOOT, sectors: 49_152 });
        table.set(2, 0, Partition { kind: LINUX, first: STATE, sectors: 100_000 });
        table.set(3, 0, Partition { kind: SPARE, first: FIRST + SLOT, sectors: SLOT });
        table
    }

    #[test]
    fn the_slots_change_places_and_nothing_else_changes() {
        let card = card();
        assert_eq!(PartitionTable::of(card.sector()), Some(card.clone()));
        assert_eq!((card.active(), card.spare(), card.is_trial()), (FIRST, FIRST + SLOT, false));
        let new = card.switched(BOOT);
        assert_eq!(PartitionTable::of(new.sector()), Some(new.clone()));
        assert_eq!((new.active(), new.spare(), new.is_trial()), (FIRST + SLOT, FIRST, false));
        let (boot, system) = (new.entry(0), new.entry(1));
        assert_eq!((boot.kind, boot.sectors, new.0[ENTRIES]), (0x0c, BOOT, 0x80));
        assert_eq!((system.kind, system.first, system.sectors), (0x83, FIRST + SLOT + BOOT, SLOT - BOOT));
        let state = ENTRIES + 2 * ENTRY..ENTRIES + 3 * ENTRY;
        assert_eq!(new.0[state.clone()], card.0[state]);
        assert_eq!(new.0[..ENTRIES], card.0[..ENTRIES]);
        let trial = new.on_trial();
        assert_eq!(PartitionTable::of(trial.sector()), Some(trial.clone()));
        assert!(trial.is_trial() && trial.active() == new.active());
        // Back and forth, with a boot partition of another size.
        let back = new.switched(2048);
        assert_eq!((back.active(), back.spare()), (FIRST, FIRST + SLOT));
        assert_eq!((back.entry(0).sectors, back.entry(1).first), (2048, FIRST + 2048));
    }

    #[test]
    fn a_table_without_two_slots_is_none() {
        let partition = |kind, first, sectors| Partition { kind, first, sectors };
        let cases: [(&str, usize, Partition); 7] = [
            ("made before there was room for two", 3, partition(0, 0, 0)),
            ("a spare slot of another size", 3, partition(SPARE, FIRST + SLOT, SLOT - 1)),
            ("a spare slot elsewhere", 3, partition(SPARE, FIRST + SLOT + 1, SLOT)),
            ("somebody's own partition", 3, partition(LINUX, FIRST + SLOT, SLOT)),
            ("no boot partition", 0, partition(LINUX, FIRST, BOOT)),
            ("a system beyond its slot", 1, partition(LINUX, FIRST + BOOT, SLOT - BOOT + 1)),
            ("state in a slot", 2, partition(LINUX, STATE - 1, 100_000)),
        ];
        for (what, at, entry) in cases {
            let mut table = card();
            table.set(at, 0, entry);
            assert_eq!(PartitionTable::of(table.sector()), None, "{what}");
        }
        let mut table = card();
        table.0[SECTOR - 1] = 0;
        assert_eq!(PartitionTable::of(table.sector()), None, "no table");
        let mut table = card();
        table.set(2, 0, partition(0, 0, 0));
        assert!(PartitionTable::of(table.sector()).is_some(), "a lost state partition does no harm");
        table.set(0, 0, partition(FAT[0], u32::MAX, u32::MAX));
        assert_eq!(PartitionTable::of(table.sector()), None, "numbers that do not fit");
    }
}
