// SPDX-License-Identifier: GPL-3.0-or-later
//! The golden files: what the C library made, and what it says about them.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use ctdb_tdb::{
    jenkins_hash, old_hash, Error, KeyCursor, OpenOptions, StoreMode, Tdb, TDB_MUTEX_LOCKING,
};
use serde_json::Value;

fn vectors() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/vectors/tdb")
}

fn json(name: &str) -> Value {
    let text = fs::read_to_string(vectors().join(name)).expect("vector file");
    serde_json::from_str(&text).expect("valid JSON")
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|i| u8::from_str_radix(&text[i..i + 2], 16).unwrap()).collect()
}

fn files() -> Vec<Value> {
    json("MANIFEST.json")["files"].as_array().expect("files").clone()
}

type Records = Vec<(Vec<u8>, Vec<u8>)>;

fn expected_records(file: &Value) -> Records {
    let Some(records) = file["records"].as_array() else {
        return Vec::new();
    };
    let text = |v: &Value| unhex(v.as_str().unwrap());
    records.iter().map(|r| (text(&r[0]), text(&r[1]))).collect()
}

fn traversed(tdb: &mut Tdb) -> Records {
    let mut seen = Vec::new();
    tdb.traverse(|key, data| {
        seen.push((key.to_vec(), data.to_vec()));
        true
    })
    .expect("traverse");
    seen
}

/// A private copy: opening may recover or initialise mutexes.
fn copy(name: &str, dir: &Path) -> PathBuf {
    let path = dir.join(name);
    fs::copy(vectors().join(name), &path).expect("copy");
    path
}

fn name_of(file: &Value) -> &str {
    file["name"].as_str().unwrap()
}

fn write_flags(file: &Value) -> u32 {
    file["open_rw"]["flags"].as_u64().unwrap_or(0) as u32
}

#[test]
fn hashes() {
    let table = json("hashes.json");
    let rows = table.as_array().or_else(|| table["hashes"].as_array()).expect("rows");
    assert!(rows.len() > 10);
    for row in rows {
        let key = unhex(row["key"].as_str().unwrap());
        let value = |name: &str| {
            let text = row[name].as_str().unwrap().trim_start_matches("0x");
            u32::from_str_radix(text, 16).unwrap()
        };
        assert_eq!(old_hash(&key), value("old"), "old hash of {key:02x?}");
        assert_eq!(jenkins_hash(&key), value("jenkins"), "Jenkins hash of {key:02x?}");
    }
}

/// Each file belongs to a group that one of the tests below goes through.
#[test]
fn no_file_is_left_out() {
    let mut described: Vec<String> = files().iter().map(|f| name_of(f).to_string()).collect();
    described.extend(["MANIFEST.json".to_string(), "hashes.json".to_string()]);
    described.sort();
    let entries = fs::read_dir(vectors()).unwrap();
    let mut there: Vec<String> =
        entries.map(|e| e.unwrap().file_name().to_string_lossy().into_owned()).collect();
    there.sort();
    assert_eq!(described, there);
    let groups = ["valid", "mutex", "needs-recovery", "corrupt", "corrupt-mutex"];
    for file in files() {
        assert!(groups.contains(&file["group"].as_str().unwrap()), "{}", name_of(&file));
    }
}

#[test]
fn readable_files_read_back_exactly() {
    let dir = tempfile::tempdir().unwrap();
    let mut seen = 0;
    for file in files() {
        let group = file["group"].as_str().unwrap();
        if !matches!(group, "valid" | "mutex" | "needs-recovery") {
            continue;
        }
        let name = name_of(&file);
        let records = expected_records(&file);
        for (kind, read_only) in [("open_ro", true), ("open_rw", false)] {
            if file[kind]["result"] != "ok" {
                continue;
            }
            let path = copy(name, dir.path());
            let before = fs::read(&path).unwrap();
            let options = OpenOptions {
                tdb_flags: write_flags(&file) & TDB_MUTEX_LOCKING,
                read_only,
                check: true,
                ..OpenOptions::default()
            };
            let mut tdb = Tdb::open(&path, &options).unwrap_or_else(|e| panic!("{kind}: {e}"));
            assert_eq!(traversed(&mut tdb), records, "{name} {kind}");
            let report = tdb.check().unwrap_or_else(|e| panic!("{kind}: {e}"));
            assert_eq!(report.records, records.len() as u64, "{name} {kind}");
            assert_eq!(u64::from(tdb.hash_size()), file["hash_size"].as_u64().unwrap());
            let expect = &file[kind];
            assert_eq!(u64::from(tdb.seqnum().unwrap()), expect["seqnum"].as_u64().unwrap());
            assert_eq!(u64::from(tdb.map_size()), expect["map_size"].as_u64().unwrap(), "{name}");
            assert_eq!(u64::from(tdb.flags()), expect["tdb_flags"].as_u64().unwrap(), "{name}");
            for (key, data) in &records {
                assert_eq!(tdb.fetch(key).unwrap().as_ref(), Some(data), "{name} {key:02x?}");
                assert!(tdb.exists(key).unwrap());
            }
            assert_eq!(tdb.fetch(b"no such key anywhere").unwrap(), None);
            drop(tdb);
            if read_only {
                assert_eq!(fs::read(&path).unwrap(), before, "{name} was modified");
            }
            seen += 1;
        }
    }
    assert!(seen >= 34, "only {seen} opens");
}

#[test]
fn files_that_need_recovery_are_not_opened_read_only() {
    let dir = tempfile::tempdir().unwrap();
    let mut seen = 0;
    for file in files().iter().filter(|f| f["group"] == "needs-recovery") {
        let path = copy(name_of(file), dir.path());
        let options = OpenOptions { read_only: true, ..OpenOptions::default() };
        let error = Tdb::open(&path, &options).err().expect("must be refused");
        assert!(error.is_corruption(), "{error}");
        seen += 1;
    }
    assert_eq!(seen, 4);
}

/// Errno of each file that cannot be opened; the others open and fail their check.
#[test]
fn corrupt_files_are_refused_with_offset_and_reason() {
    let dir = tempfile::tempdir().unwrap();
    let errnos =
        BTreeMap::from([("EIO", libc::EIO), ("ENOSYS", libc::ENOSYS), ("EINVAL", libc::EINVAL)]);
    let mut seen = 0;
    for file in files().iter().filter(|f| f["group"].as_str().unwrap().starts_with("corrupt")) {
        let name = name_of(file);
        let path = copy(name, dir.path());
        let before = fs::read(&path).unwrap();
        let options = OpenOptions { tdb_flags: write_flags(file), ..OpenOptions::default() };
        let opened = Tdb::open(&path, &options);
        let error = if file["open_rw"]["result"] == "ok" {
            let mut tdb = opened.unwrap_or_else(|e| panic!("{name}: {e}"));
            let error = tdb.check().err().unwrap_or_else(|| panic!("{name}: check passed"));
            drop(tdb);
            let checked = OpenOptions { check: true, ..options };
            assert!(Tdb::open(&path, &checked).is_err(), "{name}");
            error
        } else {
            let error = opened.err().unwrap_or_else(|| panic!("{name}: opened"));
            let errno = errnos[file["open_rw"]["errno"].as_str().unwrap()];
            assert_eq!(error.errno(), errno, "{name}: {error}");
            error
        };
        let Error::Corrupt(corruption) = &error else {
            panic!("{name}: {error:?}");
        };
        assert_eq!(&*corruption.path, path.as_path());
        assert!(!corruption.expected.is_empty() && !corruption.found.is_empty());
        println!("{error}");
        assert_eq!(fs::read(&path).unwrap(), before, "{name} was modified");
        seen += 1;
    }
    assert!(seen >= 22, "only {seen}");
}

/// Whatever a corrupt file contains, no operation crashes, hangs or reads out of bounds.
#[test]
fn corrupt_files_survive_use() {
    let dir = tempfile::tempdir().unwrap();
    for file in files().iter().filter(|f| f["group"].as_str().unwrap().starts_with("corrupt")) {
        let path = copy(name_of(file), dir.path());
        let options = OpenOptions { tdb_flags: write_flags(file), ..OpenOptions::default() };
        let Ok(mut tdb) = Tdb::open(&path, &options) else {
            continue;
        };
        let _ = tdb.traverse(|_, _| true);
        let _ = tdb.traverse_write(|tdb, key, _| tdb.append(key, b"more").is_ok());
        let _ = tdb.summary();
        let _ = tdb.free_stats();
        let _ = tdb.free_list_size();
        let _ = tdb.visit_list(None, |_| true);
        for chain in 0..tdb.hash_size() {
            let _ = tdb.visit_list(Some(chain), |rec| rec.tailer_is_sound() || rec.magic != 0);
        }
        tdb.rescue(|_, _| ()).expect("a rescue ends well");
        let _ = tdb.keys().filter(|key| key.is_ok()).count();
        let mut cursor = KeyCursor::new();
        let mut next = cursor.first(&mut tdb).ok().flatten().map(<[u8]>::to_vec);
        while let Some(key) = next {
            next = cursor.next(&mut tdb, &key).ok().flatten().map(<[u8]>::to_vec);
        }
        let _ = tdb.reserve(10_000);
        let _ = tdb.repack();
        for (key, _) in expected_records(file) {
            let _ = tdb.fetch(&key);
            let _ = tdb.store(&key, &[&[7; 300]], StoreMode::Replace);
            let _ = tdb.delete(&key);
        }
        for i in 0..50u32 {
            let _ = tdb.store(&i.to_le_bytes(), &[&[1; 100]], StoreMode::Replace);
        }
        let _ = tdb.check();
        let _ = tdb.wipe_all();
    }
}

/// The recovered content of the crashed files, and the space behind the old end is in use again.
#[test]
fn recovered_files_have_no_dead_space() {
    let dir = tempfile::tempdir().unwrap();
    for file in files().iter().filter(|f| f["group"] == "needs-recovery") {
        let path = copy(name_of(file), dir.path());
        let mut tdb = Tdb::open(&path, &OpenOptions::default()).unwrap();
        let report = tdb.check().unwrap();
        assert_eq!(report.dead_space, 0, "{}", name_of(file));
        assert_eq!(traversed(&mut tdb), expected_records(file));
    }
}

/// The text of the C library for every sample it could summarise.
#[test]
fn summaries_are_those_of_the_c_library() {
    let dir = tempfile::tempdir().unwrap();
    let mut seen = 0;
    for file in files() {
        let Some(text) = file["summary"].as_str() else {
            continue;
        };
        let path = copy(name_of(&file), dir.path());
        let options = OpenOptions {
            tdb_flags: write_flags(&file) & TDB_MUTEX_LOCKING,
            read_only: file["open_ro"]["result"] == "ok",
            ..OpenOptions::default()
        };
        let mut tdb = Tdb::open(&path, &options).unwrap();
        assert_eq!(tdb.summary().unwrap().to_string(), text, "{}", name_of(&file));
        seen += 1;
    }
    assert!(seen >= 16, "only {seen}");
}

/// What the C library rescues from damaged files, and from sound ones: all records.
#[test]
fn rescues_are_those_of_the_c_library() {
    let dir = tempfile::tempdir().unwrap();
    let mut seen = 0;
    for file in files() {
        let Some(expected) = file["rescue"].as_array() else {
            continue;
        };
        let text = |v: &Value| unhex(v.as_str().unwrap());
        let expected: Records = expected.iter().map(|r| (text(&r[0]), text(&r[1]))).collect();
        let path = copy(name_of(&file), dir.path());
        let options = OpenOptions { read_only: true, ..OpenOptions::default() };
        let mut tdb = Tdb::open(&path, &options).unwrap();
        let mut rescued = Records::new();
        let count = tdb.rescue(|key, data| rescued.push((key.to_vec(), data.to_vec()))).unwrap();
        assert_eq!((count, &rescued), (expected.len() as u64, &expected), "{}", name_of(&file));
        seen += 1;
    }
    assert!(seen >= 8, "only {seen}");
}
