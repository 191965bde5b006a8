/// Bit of a record's tag, whose other bits are its status or severity: a later record of the same
/// segment takes this one's place.
pub(crate) const SUPERSEDED: u8 = 0x80;
