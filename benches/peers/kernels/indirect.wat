;; A state machine whose states are functions behind a table: one indirect call for each step.
(module
  (type $state (func (param i32) (result i32)))
  (table funcref (elem $add $multiply $mix $rotate))
  (func $add (type $state) (i32.add (local.get 0) (i32.const 0x9e3779b9)))
  (func $multiply (type $state) (i32.mul (local.get 0) (i32.const 0x85ebca6b)))
  (func $mix (type $state) (i32.xor (local.get 0) (i32.shr_u (local.get 0) (i32.const 15))))
  (func $rotate (type $state) (i32.rotl (local.get 0) (i32.const 13)))
  (func (export "run") (param $steps i32) (result i32)
    (local $word i32)
    (loop $again
      (local.set $word
        (call_indirect (type $state) (local.get $word) (i32.and (local.get $steps) (i32.const 3))))
      (br_if $again (local.tee $steps (i32.sub (local.get $steps) (i32.const 1)))))
    (local.get $word)))
