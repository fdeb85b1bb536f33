package external

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/google/go-cmp/cmp"

	"github.com/doob-diffusion/doob/internal/config"
	"github.com/doob-diffusion/doob/internal/oracle"
)

func TestCheck(t *testing.T) {
	good := Settings{Command: []string{"python3", "score.py"}, Batch: 8, Timeout: time.Minute, Retries: -1}
	for want, change := range map[string]func(*Settings){
		"": func(*Settings) {},
		`rewards.command is [] and rewards.http is ""`: func(s *Settings) { s.Command = nil },
		`is "http://localhost/", want exactly one`:     func(s *Settings) { s.HTTP = "http://localhost/" },
		"rewards.command begins with an empty":         func(s *Settings) { s.Command[0] = "" },
		`rewards.http is "localhost:80", want`:         func(s *Settings) { s.Command, s.HTTP = nil, "localhost:80" },
		"rewards.batch is -1":                          func(s *Settings) { s.Batch = -1 },
		"rewards.timeout is 30ns, want":                func(s *Settings) { s.Timeout = 30 }, // timeout: 30
		"rewards.timeout is -1s":                       func(s *Settings) { s.Timeout = -time.Second },
		"rewards.retries is -2":                        func(s *Settings) { s.Retries = -2 },
	} {
		s := good
		s.Command = append([]string(nil), good.Command...)
		change(&s)
		var c config.Check
		if s.Check(&c, "rewards"); want != "" {
			oracle.WantError(t, c.Err(), want)
		} else if c.Err() != nil {
			t.Error(c.Err())
		}
	}
}

// Settings are read strictly, and written so that they are read to the same.
func TestSettingsYAML(t *testing.T) {
	const text = "command: [python3, score.py]\nbatch: 8\ntimeout: 1m30s\nretries: 2\n"
	var s Settings
	none := func(string) []any { return nil }
	if err := config.Decode(&s, []byte(text), "here", none); err != nil {
		t.Fatal(err)
	}
	want := Settings{Command: []string{"python3", "score.py"}, Batch: 8, Timeout: 90 * time.Second, Retries: 2}
	if d := cmp.Diff(want, s); d != "" {
		t.Errorf("read (-want +got)\n%s", d)
	}
	written, err := yaml.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	var again Settings
	if err := config.Decode(&again, written, "there", none); err != nil || !cmp.Equal(s, again) {
		t.Errorf("%s is read as %+v, %v", written, again, err)
	}
	oracle.WantError(t, config.Decode(&s, []byte("gradient: true"), "here", none), "unknown field", "gradient")
}

// Located settings name files from the root, and programs of PATH and other texts as they are.
func TestLocated(t *testing.T) {
	home := t.TempDir()
	t.Chdir(home)
	for _, name := range []string{"score.py", "sh"} {
		if err := os.WriteFile(name, nil, 0o777); err != nil {
			t.Fatal(err)
		}
	}
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range [][2][]string{
		{{"sh", "score.py", "--size", "3", ""}, {"sh", filepath.Join(here, "score.py"), "--size", "3", ""}},
		{{"./sh"}, {filepath.Join(here, "sh")}},
	} {
		s := Settings{Command: c[0]}
		got, err := s.Located()
		if err != nil || !cmp.Equal(got.Command, c[1]) || cmp.Equal(s.Command, got.Command) {
			t.Errorf("%q is located at %q, %v, want %q", s.Command, got.Command, err, c[1])
		}
	}
	_, err = Settings{Command: []string{"no-such-program-here", "score.py"}}.Located()
	oracle.WantError(t, err, "no-such-program-here", "not found")
	if name := (Settings{HTTP: "http://me:secret@host/score"}).Name(); name != "http://me:xxxxx@host/score" {
		t.Errorf("the name %q", name)
	}
}
