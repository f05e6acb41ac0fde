package keys

import "testing"

// Place reads what the functions that make keys have spelled, and Turns holds
// all of it and nothing of cron's.
func TestPlace(t *testing.T) {
	const s = Space("/x/v1")
	pool := s.Pool("encode")
	turns := s.Turns()
	for key, want := range map[string]Place{
		s.Office("db").Candidate(0xabc):          {Kind: OfficeCandidate, Name: "db"},
		s.Office("db").Record(0xabc):             {Kind: OfficeRecord, Name: "db"},
		pool.Candidate(0xabc):                    {Kind: PoolCandidate, Name: "encode"},
		pool.Cap():                               {Kind: PoolCap, Name: "encode"},
		s.PoolHost("encode", "web").Candidate(1): {Kind: PoolHostCandidate, Name: "encode", Host: "web"},
		s.PoolHost("encode", "web").Record(1):    {},
		pool.Slot(3):                             {},
		pool.RunIn(3):                            {},
		s.Office("a.b").Candidate(1):             {Kind: OfficeCandidate, Name: "a.b"},
	} {
		if got, ok := s.Place(key); got != want || ok != (want.Kind != 0) {
			t.Errorf("%s: %+v, %v", key, got, ok)
		}
		in := false
		for _, r := range turns {
			in = in || r[0] <= key && key < r[1]
		}
		if !in {
			t.Errorf("%s is in none of the ranges", key)
		}
	}
	for _, key := range []string{
		"", "/x/v1/", "/x/v1/elect", "/x/v1/elect/", "/x/v1/elect/db", "/x/v1/elect/db/", "/x/v1/elect//1", "/x/v1/elect/db/1/2",
		"/x/v1x/elect/db/1", "/y/elect/db/1", s.Evict(1), s.Once("db", "k"), s.Cron().Job("j"), s.Cron().Paused(),
	} {
		if p, ok := s.Place(key); ok {
			t.Errorf("%s: %+v", key, p)
		}
	}
	for _, key := range []string{s.Cron().Restored(), s.Cron().Job("j"), s.Evict(1), s.Once("db", "k")} {
		for _, r := range turns {
			if r[0] <= key && key < r[1] {
				t.Errorf("%s is in %v", key, r)
			}
		}
	}
}
