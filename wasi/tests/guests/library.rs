// What Rust's standard library asks of a system, in the directory that is the first argument.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::time::{Duration, Instant, SystemTime};

fn writes(root: &str) -> std::io::Result<()> {
    fs::create_dir_all(format!("{root}/a/b"))?;
    let path = format!("{root}/a/b/file");
    let mut file = OpenOptions::new().create(true).read(true).write(true).open(&path)?;
    file.write_all(&[b'x'; 200_000])?;
    file.seek(SeekFrom::Start(199_990))?;
    let mut text = String::new();
    file.read_to_string(&mut text)?;
    println!("read {} of {}", text.len(), file.metadata()?.len());
    file.set_len(5)?;
    drop(file);
    fs::copy(&path, format!("{root}/copy"))?;
    fs::rename(&path, format!("{root}/moved"))?;
    fs::hard_link(format!("{root}/copy"), format!("{root}/linked"))?;
    let mut names: Vec<_> =
        fs::read_dir(root)?.map(|entry| Ok(entry?.file_name())).collect::<std::io::Result<_>>()?;
    names.sort();
    println!("{names:?}");
    fs::remove_dir_all(format!("{root}/a"))?;
    OpenOptions::new().append(true).open(format!("{root}/copy"))?.write_all(b"end")?;
    println!("{:?}", fs::read_to_string(format!("{root}/linked"))?);
    fs::remove_file(format!("{root}/linked"))
}

fn main() {
    let root = std::env::args().nth(1).expect("a directory");
    let begin = Instant::now();
    std::thread::sleep(Duration::from_millis(5));
    assert!(begin.elapsed() >= Duration::from_millis(5));
    assert!(SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).is_ok());
    // A map's hasher takes random numbers.
    let map: std::collections::HashMap<_, _> = std::env::vars().collect();
    println!("{} variables", map.len());
    println!("given: {:?}", fs::read_to_string(format!("{root}/given")).map_err(|e| e.kind()));
    println!(
        "secret: {:?}",
        File::open(format!("{root}/../secret")).map(drop).map_err(|e| e.kind())
    );
    match writes(&root) {
        Ok(()) => println!("done"),
        Err(error) => {
            println!("failed: {:?}", error.kind());
            std::process::exit(9);
        }
    }
}
